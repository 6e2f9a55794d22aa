"""A cross-encoder in memory: scores of tokenized pairs, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from ...assets.store import Report
from ...errors import UmekomiError
from ...progress import Progress, no_progress
from ...settings import Settings
from ...vectors.arithmetic import FloatArray
from ..transformer.backends.base import Batch, Inputs
from ..transformer.backends.openvino import OpenVinoBackend, build_from, build_from_file
from ..transformer.backends.openvino_file import build_file_graph
from ..transformer.backends.openvino_graph import build_graph
from ..transformer.batching import plan_batches
from ..transformer.folder.graph_file import GraphFile
from .folder import ACTIVATIONS, CrossEncoderFolder, read_cross_encoder
from .pairs import Pair, PairTokenizer

MAX_DIFFERENCE = 1e-4
"""Maximum difference by which padding may change a logit. Otherwise pairs are not padded."""


class CrossEncoder:
    """A cross-encoder. Several threads can use it at the same time; their batches take turns.

    A pair has the same score, bit by bit, whatever the other pairs are: pairs are padded to the end of their own length bucket.

    Args:
        folder: Content of the model's folder.
        settings: Threads, streams and tokens in a batch. The precision is always fp32, because the scores of bf16 differ by more
            than 1e-4, and the device is always the CPU.
    """

    def __init__(self, folder: CrossEncoderFolder, settings: Settings) -> None:
        self.tokenizer: PairTokenizer = folder.tokenizer
        self.file_hashes = folder.file_hashes
        self.architecture = folder.network.config.family
        self.source = folder.network.name if isinstance(folder.network, GraphFile) else "model.safetensors"
        self.n_weights = folder.network.n_weights
        self.activation = folder.activation
        self._activation = ACTIVATIONS[folder.activation]
        self._has_segments = folder.has_segments
        self._backend = _build_backend(folder, replace(settings, device="cpu", precision="fp32"))

    def score(self, pairs: Sequence[Pair], *, progress: Progress = no_progress) -> FloatArray:
        """Return the score of each pair: ``(len(pairs),) float32``.

        Raises:
            UmekomiError: A score is not a finite number.
        """
        logits = np.empty(len(pairs), dtype=np.float32)
        for indices, batch in self._backend.run(self._batches(pairs)):
            logits[indices] = batch[:, 0]
            progress(len(indices))
        if not np.isfinite(logits).all():
            raise UmekomiError("The reranker returned a score that is not a finite number, so its weights are damaged.")
        # In float64, one by one, because NumPy's vectorized functions may round the last elements differently.
        return np.array([self._activation(logit) for logit in logits.tolist()], dtype=np.float32)

    def _batches(self, pairs: Sequence[Pair]) -> Iterator[Batch]:
        backend = self._backend
        lengths = [pair.n_tokens for pair in pairs]
        plan = plan_batches(lengths, max_tokens=backend.max_tokens, max_rows=backend.max_rows, pad=backend.pad)
        for indices in plan:
            yield indices, self._inputs([pairs[index] for index in indices])

    def _inputs(self, pairs: Sequence[Pair]) -> Inputs:
        lengths = np.array([pair.n_tokens for pair in pairs], dtype=np.int32)
        shape = len(pairs), int(self._backend.pad(lengths[:1].astype(np.int64))[0])
        ids = np.zeros(shape, dtype=np.int32)
        for row, pair in zip(ids, pairs, strict=True):
            row[: pair.n_tokens] = pair.read_ids()
        # No token belongs to a prompt.
        starts = np.zeros_like(lengths)
        if not self._has_segments:
            return ids, lengths, starts
        segments = np.zeros(shape, dtype=np.int32)
        for row, pair in zip(segments, pairs, strict=True):
            row[: pair.n_tokens] = pair.read_segments()
        return ids, lengths, starts, segments


def _build_backend(folder: CrossEncoderFolder, settings: Settings) -> OpenVinoBackend:
    key = [[step.describe() for step in folder.steps], folder.has_segments]
    network, steps, has_segments = folder.network, folder.steps, folder.has_segments
    if isinstance(network, GraphFile):
        make_file_graph = partial(build_file_graph, network, steps=steps, has_segments=has_segments)
        return build_from_file(network, settings, make_file_graph, key=key, max_difference=MAX_DIFFERENCE)
    return build_from(network, settings, partial(build_graph, steps=steps, has_segments=has_segments), key=key)


def load_cross_encoder(
    model: str, settings: Settings, *, max_length: int | None = None, report: Report | None = None
) -> CrossEncoder:
    """Load the cross-encoder of a folder or of the Hugging Face hub.

    Args:
        model: Path of the folder, or ``owner/name``.
        settings: Threads and so on.
        max_length: Maximum number of tokens of a pair. By default the model's own.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: The folder is not a cross-encoder, or Umekomi cannot run it.
        AssetMissingError: The hub does not respond, or has no such model.
    """
    return CrossEncoder(read_cross_encoder(model, settings, max_length=max_length, report=report), settings)
