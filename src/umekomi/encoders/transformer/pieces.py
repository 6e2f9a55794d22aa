"""A transformer that computes texts of any length: it splits them into pieces, and runs the pieces in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...progress import Progress
from ...settings import Settings
from ...vectors.arithmetic import FloatArray, IntArray
from .backends.base import Inputs, build_backend
from .batching import plan_batches
from .checkpoint import Checkpoint
from .folder.graph_file import GraphFile
from .steps import Step


@dataclass(frozen=True, slots=True)
class Pieces:
    """The pieces of texts."""

    #: Token ids of each piece with the prefix, without special tokens.
    ids: list[npt.NDArray[np.int32]]
    #: Index of the text of each piece.
    owners: list[int]
    #: Number of pieces of each text.
    counts: IntArray

    @classmethod
    def empty(cls, n_texts: int) -> Pieces:
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


class PieceNetwork:
    """A transformer with its tokenizer. Several threads can use it at the same time; their batches take turns.

    Args:
        name: Name for messages.
        checkpoint: Weights, configuration and tokenizer.
        window: Maximum number of tokens in a piece, including special tokens and prefix.
        settings: Device, precision, threads and streams.
        prefixes: Prefix of each role. ``None`` is for texts without a role.
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
        steps: Sequence[Step],
    ) -> None:
        self._name = name
        self.window = window
        # Compiling a graph releases the GIL, so the tokenizer is loaded at the same time.
        with ThreadPoolExecutor(1, thread_name_prefix="umekomi-load") as pool:
            tokenizer = pool.submit(lambda: checkpoint.tokenizer)
            self.backend = build_backend(checkpoint, settings, steps=steps)
            self.tokenizer = tokenizer.result()
        self.prefixes = dict(prefixes or {})
        self._prefix_ids = {
            role: self.tokenizer.ids([prefix.rstrip()])[0] if prefix else [] for role, prefix in self.prefixes.items()
        }
        self._starts = {role: self._count_prompt(prefix) for role, prefix in self.prefixes.items() if prefix}
        for role in {None, *self.prefixes}:
            self._require_window(role)

    @property
    def prompts(self) -> dict[str, str]:
        """Prefixes by role, except that of texts without a role."""
        return {name: prefix for name, prefix in self.prefixes.items() if name is not None}

    def run(
        self, texts: Sequence[str], role: str | None, pieces: Pieces, progress: Progress
    ) -> Iterator[tuple[list[int], FloatArray]]:
        """Yield the indices of the pieces and the vectors ``(batch, dims) float32`` of each batch.

        Args:
            texts: Texts.
            role: Key of :attr:`prefixes`.
            pieces: Receives the pieces of the texts.
            progress: Callback that receives the number of texts finished since the last call.
        """
        n_finished = np.zeros(len(texts), dtype=np.int64)
        for batch, vectors in self.backend.run(self.batches(texts, role, pieces)):
            yield batch, vectors
            done = 0
            for index in batch:
                owner = pieces.owners[index]
                n_finished[owner] += 1
                done += n_finished[owner] == pieces.counts[owner]
            progress(int(done))

    def split(self, texts: Sequence[str], role: str | None) -> Pieces:
        """Return the pieces of texts."""
        pieces = Pieces.empty(len(texts))
        prefix = self._prefix_ids.get(role, [])
        pieces.add(self._ids(texts, role), first=0, max_length=self._max_length(), prefix=prefix)
        return pieces

    def batches(self, texts: Sequence[str], role: str | None, pieces: Pieces) -> Iterator[tuple[list[int], Inputs]]:
        """Yield batches and add their pieces to ``pieces``. Texts are tokenized while the backend computes earlier ones."""
        backend = self.backend
        waiting: list[int] = []
        for first, ids, is_last in self._tokenize_slices(texts, role):
            waiting += pieces.add(
                ids, first=first, max_length=self._max_length(), prefix=self._prefix_ids.get(role, [])
            )
            lengths = self.lengths([pieces.ids[index] for index in waiting])
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
        size = self.backend.slice_size or len(texts)
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

    def _count_prompt(self, prompt: str) -> int:
        """Return the number of tokens of a prompt as sentence-transformers counts them.

        They are the tokens of the prompt with its spaces and the special tokens around it, except the last one if it has a role.
        """
        tokenizer = self.tokenizer
        ids = [*tokenizer.before, *tokenizer.ids([prompt])[0], *tokenizer.after]
        return len(ids) - (bool(ids) and ids[-1] in tokenizer.special_ids)

    def _max_length(self) -> int:
        """Return the maximum number of tokens in a piece with its prefix: the window without special tokens."""
        return self.window - len(self.tokenizer.before) - len(self.tokenizer.after)

    def _require_window(self, role: str | None) -> None:
        """Raise InputError if the window has no space for a text."""
        max_length = self._max_length() - len(self._prefix_ids.get(role, []))
        if max_length < 1:
            raise InputError(
                f"The prompt of {self._name} for the role {role or 'none'} and the special tokens have "
                f"{self.window - max_length} tokens, and its window is {self.window}, so no text fits."
            )

    def lengths(self, pieces: Sequence[npt.NDArray[np.int32]]) -> list[int]:
        """Return the lengths of pieces including special tokens."""
        n_extra = self.window - self._max_length()
        # Without special tokens, an empty text is one padding token.
        return [max(1, len(piece) + n_extra) for piece in pieces]

    def _inputs(self, pieces: Sequence[npt.NDArray[np.int32]], role: str | None) -> Inputs:
        """Return the inputs of a batch. A row is ``before piece after``, padded to the end of its bucket."""
        before, after = self.tokenizer.before, self.tokenizer.after
        lengths = np.array(self.lengths(pieces), dtype=np.int32)
        ids = np.zeros((len(pieces), int(self.backend.pad(lengths[:1].astype(np.int64))[0])), dtype=np.int32)
        ids[:, : len(before)] = before
        for row, piece in zip(ids, pieces, strict=True):
            end = len(before) + len(piece)
            row[len(before) : end] = piece
            row[end : end + len(after)] = after
        # If no token remains after the prompt, all are pooled. sentence-transformers also returns the first one for `cls`, but
        # zeros for most other poolings.
        start = self._starts.get(role, 0)
        return ids, lengths, np.where(start < lengths, start, 0).astype(np.int32)

    def _ids(self, texts: Sequence[str], role: str | None) -> list[list[int]]:
        """Return the token ids of each text with the prefix of the role.

        They are tokenized together, because a token may begin in the prefix and end in the text.
        """
        prefix = self.prefixes.get(role, "")
        return self.tokenizer.ids([prefix + text for text in texts])
