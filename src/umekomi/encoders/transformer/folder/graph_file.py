"""Transformers as ONNX files or as OpenVINO's own files, for models without safetensors and for unknown architectures.

A file contains the whole network, so no table row for its architecture is needed. Such files cannot contain code: OpenVINO
rejects operators that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ....assets.digests import compute_sha256
from ....errors import InputError
from ....extras import import_optional
from ..vocabulary import TextTokenizer

CANDIDATES = (
    "openvino/openvino_model.xml",
    "openvino_model.xml",
    "onnx/model.onnx",
    "model.onnx",
    "onnx/model_fp16.onnx",
    "model_fp16.onnx",
)
"""Files that are used without being named, in this order. Quantized files are not, because their vectors differ."""
SUFFIXES = (".onnx", ".xml")
_FAIRSEQ = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
"""Architectures whose position ids start after the id of padding."""

# A field of ONNX's StringStringEntryProto: the key "location", and a value of up to 127 bytes.
_EXTERNAL_DATA = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


@dataclass(frozen=True, slots=True)
class GraphConfig:
    """What Umekomi needs to know about the network in a file."""

    #: Architecture, as named by ``model_type`` in ``config.json``, or the format of the file.
    family: str
    #: Number of dimensions of the file's output.
    hidden: int
    #: Maximum number of tokens in a text; 0 if unknown.
    positions: int
    #: Numbers of an attention head; 0 if unknown.
    size: int
    #: Number of weights.
    n_weights: int = 0
    #: Id of padding tokens.
    pad_id: int = 0
    #: Position id of the first token of a text, for files that have an input for positions.
    first_position: int = 0


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A file with a whole network."""

    path: Path
    #: Name for messages.
    name: str
    #: Output with the states of tokens or the vectors of texts.
    output: str
    #: Whether the output has one vector per text. Then no steps follow.
    is_pooled: bool
    config: GraphConfig
    #: The file, and the files with its weights.
    files: tuple[Path, ...]
    #: SHA-256 of these files.
    hashes: tuple[str, ...]
    #: Creates the tokenizer, which takes most of a second for a large vocabulary.
    make_tokenizer: Callable[[], TextTokenizer]

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the model."""
        return self.make_tokenizer()

    @property
    def n_weights(self) -> int:
        """Number of weights in the file."""
        return self.config.n_weights


def read_graph_file(
    path: Path,
    description: Mapping[str, Any],
    *,
    name: str,
    make_tokenizer: Callable[[], TextTokenizer],
    hash_file: Callable[[Path], str] = compute_sha256,
) -> GraphFile:
    """Read the inputs and outputs of a file.

    Args:
        path: Result of :func:`find_graph_file`.
        description: Content of the model's ``config.json``. Keys that a file does not need are ignored.
        name: Name of the file for messages.
        make_tokenizer: Creates the tokenizer.
        hash_file: Returns the SHA-256 of a file.

    Raises:
        InputError: The file is damaged, or has inputs or outputs that Umekomi does not support.
        MissingExtraError: OpenVINO is not installed.
    """
    files = (path, *list_data_files(path))
    # Imported lazily, because a GPU installation does not need OpenVINO.
    inspect = import_optional("umekomi.encoders.transformer.backends.openvino_file", "An ONNX or OpenVINO file").inspect
    output, is_pooled, hidden, n_weights = inspect(path, name)
    family = str(description.get("model_type") or path.suffix.removeprefix("."))
    pad_id = _number(description, "pad_token_id")
    first = pad_id + 1 if family in _FAIRSEQ else 0
    heads = _number(description, "num_attention_heads") or _number(description, "n_heads")
    size = _number(description, "head_dim") or (hidden // heads if heads else 0)
    positions = max(0, (_number(description, "max_position_embeddings") or _number(description, "n_positions")) - first)
    config = GraphConfig(family, hidden, positions, size, n_weights, pad_id, first)
    return GraphFile(path, name, output, is_pooled, config, files, tuple(map(hash_file, files)), make_tokenizer)


def _number(description: Mapping[str, Any], key: str) -> int:
    value = description.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def find_graph_file(folder: Path, model: str, *, file: str = "") -> Path | None:
    """Return the ONNX or OpenVINO file of a model folder, or None.

    Args:
        folder: Folder of the transformer.
        model: Name of the model for messages.
        file: Path of the file inside the folder. By default the first of :data:`CANDIDATES` that exists.

    Raises:
        InputError: ``file`` does not exist, is not inside the folder, or has another format.
    """
    if not file:
        return next((folder / name for name in CANDIDATES if (folder / name).is_file()), None)
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts or path.suffix not in SUFFIXES:
        raise InputError(
            f"{file} does not name an ONNX file (.onnx) or an OpenVINO file (.xml) inside {model}.", param="model"
        )
    if not (folder / path).is_file():
        raise InputError(f"{model} has no file {file}.", param="model")
    return folder / path


def has_safetensors(folder: Path) -> bool:
    """Return whether a folder has weights in the format safetensors."""
    return (folder / "model.safetensors").is_file() or (folder / "model.safetensors.index.json").is_file()


def list_data_files(path: Path) -> list[Path]:
    """Return the files that a file of :func:`find_graph_file` reads its weights from, besides itself.

    Raises:
        InputError: One of them does not exist or is in another folder.
    """
    if path.suffix == ".xml":
        names = [path.with_suffix(".bin").name]
    else:
        content = path.read_bytes()
        fields = ((match.end(), match.group(1)[0]) for match in _EXTERNAL_DATA.finditer(content))
        names = sorted({content[start : start + length].decode("utf-8", "replace") for start, length in fields})
    for name in names:
        if PurePosixPath(name).name != name:
            raise InputError(f"{path.name} reads weights from {name!r}, which is not a file beside it.", param="model")
        if not (path.parent / name).is_file():
            raise InputError(f"{path.name} needs the file {name}, which is not beside it.", param="model")
    return [path.parent / name for name in names]
