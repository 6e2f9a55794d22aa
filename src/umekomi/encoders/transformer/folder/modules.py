"""Read the modules of a model in the format of sentence-transformers: ``modules.json``, and the folder of each module."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from ....errors import InputError
from ....vectors.arithmetic import FloatArray
from ...json_files import JsonObject, read_json
from ..network.weights import SafetensorsFiles
from ..steps import Dense, LayerNorm, Normalize, Pool, PoolMode, Step

_POOLING_KEYS = {
    "pooling_mode_cls_token": PoolMode.CLS,
    "pooling_mode_max_tokens": PoolMode.MAX,
    "pooling_mode_mean_tokens": PoolMode.MEAN,
    "pooling_mode_mean_sqrt_len_tokens": PoolMode.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": PoolMode.WEIGHTED_MEAN,
    "pooling_mode_lasttoken": PoolMode.LAST_TOKEN,
}
"""Keys of versions before 5.4 in the order in which sentence-transformers concatenates the vectors."""

_ACTIVATIONS = {
    "Tanh": "tanh",
    "Identity": "identity",
    "GELU": "gelu",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "LeakyReLU": "leaky_relu",
    "ELU": "elu",
    "SELU": "selu",
    "Softplus": "softplus",
    "Mish": "mish",
}
"""Classes of ``torch.nn`` that a dense layer can name, which sentence-transformers creates with their default parameters."""

_UNSUPPORTED = {
    "Asym": "routes queries and documents through different modules",
    "Router": "routes queries and documents through different modules",
    "BoW": "counts words",
    "CNN": "is a convolution",
    "LSTM": "is a recurrent network",
    "CLIPModel": "embeds images",
    "WordEmbeddings": "looks up vectors of whole words",
    "WordWeights": "weights words",
    "WeightedLayerPooling": "combines several layers",
    "SparseAutoEncoder": "belongs to a sparse encoder",
    "SparseStaticEmbedding": "belongs to a sparse encoder",
    "MultiVectorMask": "belongs to a multi-vector model (ColBERT)",
    "TokenPooling": "belongs to a multi-vector model (ColBERT)",
    "LogitScore": "belongs to a reranker",
}
"""Modules of sentence-transformers that Umekomi rejects, and what they do."""

SPARSE_MODULES = ("MLMTransformer", "SpladePooling")
"""Modules of sparse encoders (SPLADE)."""

_OWN_CODE = ("custom_st.Transformer",)
"""Modules with code of their own that computes the same as the module Transformer."""


@dataclass(frozen=True, slots=True)
class Module:
    """An entry of ``modules.json``."""

    #: Name of the class without its package.
    type: str
    folder: Path


def read_modules(folder: Path, model: str, *, more: Collection[str] = ()) -> list[Module] | None:
    """Return the modules of a model, or None if it has no ``modules.json``.

    Args:
        folder: Folder of the model.
        model: Name of the model for messages.
        more: Modules that the caller supports besides :data:`MODULES`.

    Raises:
        InputError: The file is damaged, or has a module that Umekomi does not support.
    """
    path = folder / "modules.json"
    if not path.exists():
        return None
    entries = read_json(path)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path} must contain a list of modules.", param="model")
    return [_read_module(JsonObject(path, entry), folder, model, more=more) for entry in entries]


def _read_module(entry: JsonObject, folder: Path, model: str, *, more: Collection[str]) -> Module:
    full_name = entry.text("type", default="")
    package, _, name = full_name.rpartition(".")
    own_code = full_name in _OWN_CODE
    entry.ignore(["idx", "name"])
    # Names of options that callers can pass to the module.
    entry.require("kwargs", [[], ["task"]] if own_code else [[]])
    subfolder = PurePosixPath(entry.text("path", default=""))
    entry.close()
    if name in _UNSUPPORTED and name not in more:
        raise InputError(
            f"{model} has a module {name!r}, which {_UNSUPPORTED[name]}; Umekomi does not support it.", param="model"
        )
    if name in SPARSE_MODULES and name not in more:
        raise InputError(
            f"{model} has a module {name!r}, so it is a sparse encoder (SPLADE); use it with `umekomi embed --sparse`.",
            param="model",
        )
    supported = (*MODULES, *more)
    if not own_code and (package.partition(".")[0] not in ("sentence_transformers", "") or name not in supported):
        raise InputError(
            f"{model} has a module {full_name!r}; Umekomi supports {', '.join(MODULES)} and runs no code of models.",
            param="model",
        )
    if subfolder.is_absolute() or ".." in subfolder.parts:
        raise entry.error(["path"], "Umekomi expects a folder inside the model's folder")
    return Module(name, folder / subfolder)


def read_steps(modules: list[Module], model: str) -> list[Step]:
    """Return the steps of the modules after the first one, the transformer.

    Raises:
        InputError: A module has an unknown setting, or cannot be at its position.
    """
    steps: list[Step] = []
    for module in modules:
        steps += _read_step(module, model, is_pooled=any(isinstance(step, Pool) for step in steps))
    if not any(isinstance(step, Pool) for step in steps):
        raise InputError(
            f"{model} has no module Pooling, so it gives a vector for each token (as ColBERT does) and none for a text.",
            param="model",
        )
    return steps


def read_later_steps(modules: list[Module], model: str) -> list[Step]:
    """Return the steps of modules after one that gives a vector for each text. Raise InputError as :func:`read_steps` does."""
    return [step for module in modules for step in _read_step(module, model, is_pooled=True)]


def _read_step(module: Module, model: str, *, is_pooled: bool) -> list[Step]:
    reader = MODULES[module.type]
    if reader is None:
        raise InputError(
            f"{model} has the module {module.type!r} after another one; it must be the first.", param="model"
        )
    return reader(module.folder, is_pooled)


def _read_pooling(folder: Path, is_pooled: bool) -> list[Step]:
    path = folder / "config.json"
    config = JsonObject.read(path)
    dims = [config.integer(key) for key in ("embedding_dimension", "word_embedding_dimension")]
    names = config.names("pooling_mode")
    unknown = [name for name in names if name not in list(PoolMode)]
    if unknown or ("pooling_mode" in config and not names):
        raise config.error(["pooling_mode"], f"Umekomi supports {', '.join(PoolMode)}")
    old = [mode for key, mode in _POOLING_KEYS.items() if config.truth(key, default=False)]
    include_prompt = config.truth("include_prompt", default=True)
    config.close()
    if not any(dims) and not names and not old:
        raise InputError(f"{path} has no pooling.", param="model")
    modes = tuple(map(PoolMode, names or old)) or (PoolMode.MEAN,)
    if is_pooled:
        raise InputError(f"{path} is a second pooling; Umekomi supports one.", param="model")
    return [Pool(modes, include_prompt)]


def _read_dense(folder: Path, is_pooled: bool) -> list[Step]:
    config = JsonObject.read(folder / "config.json")
    # A dense layer before the pooling applies to tokens.
    feature = "sentence_embedding" if is_pooled else "token_embeddings"
    source = config.text("module_input_name", default="sentence_embedding")
    if source != feature:
        raise config.error(["module_input_name"], f"at this position Umekomi supports {feature!r}")
    if config.text("module_output_name", default=source) != feature:
        raise config.error(["module_output_name"], f"at this position Umekomi supports {feature!r}")
    function = config.text("activation_function", default="torch.nn.modules.activation.Tanh")
    package, _, name = function.rpartition(".")
    if name not in _ACTIVATIONS or package.split(".")[:2] != ["torch", "nn"]:
        raise config.error(["activation_function"], f"Umekomi supports {', '.join(_ACTIVATIONS)} of torch.nn")
    n_in, n_out = (config.required(key) for key in ("in_features", "out_features"))
    has_bias, use_residual = config.truth("bias", default=True), config.truth("use_residual", default=False)
    config.close()
    tensors = _ModuleTensors(folder)
    weight = tensors.take("linear.weight", (n_out, n_in))
    bias = tensors.take("linear.bias", (len(weight),)) if has_bias else None
    projected = use_residual and weight.shape[0] != weight.shape[1]
    residual = tensors.take("residual.weight", weight.shape) if projected else None
    tensors.close()
    return [Dense(weight, bias, _ACTIVATIONS[name], use_residual=use_residual, residual=residual)]


def _read_layer_norm(folder: Path, is_pooled: bool) -> list[Step]:
    _require_pooled(folder, is_pooled)
    config = JsonObject.read(folder / "config.json")
    dims = config.integer("dimension")
    config.close()
    tensors = _ModuleTensors(folder)
    weight = tensors.take("norm.weight", (dims,))
    bias = tensors.take("norm.bias", weight.shape)
    tensors.close()
    return [LayerNorm(weight, bias)]


def _read_normalize(folder: Path, is_pooled: bool) -> list[Step]:
    # The folder may be the folder of the model, whose config.json is that of the transformer.
    config = JsonObject.read(folder / "config.json") if folder.name.endswith("Normalize") else JsonObject(folder, {})
    for key in ("module_input_name", "module_output_name"):
        config.require(key, ["sentence_embedding"])
    config.close()
    # Before the pooling there is no vector, and sentence-transformers does nothing.
    return [Normalize()] if is_pooled else []


def _read_dropout(folder: Path, is_pooled: bool) -> list[Step]:
    """Return no step, because dropout is for training only."""
    _require_pooled(folder, is_pooled)
    config = JsonObject.read(folder / "config.json")
    config.ignore(["dropout"])
    config.close()
    return []


def _require_pooled(folder: Path, is_pooled: bool) -> None:
    if not is_pooled:
        raise InputError(
            f"The module {folder.name} is before the pooling; Umekomi supports it after the pooling.", param="model"
        )


class _ModuleTensors:
    """The tensors of a module, all of which must be used."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "model.safetensors"
        if not self._path.is_file():
            hint = " Umekomi does not open pickled weights." if (folder / "pytorch_model.bin").is_file() else ""
            raise InputError(f"{folder} has no model.safetensors.{hint}", param="model")
        self._tensors: Mapping[str, FloatArray] = SafetensorsFiles([self._path])
        self._used: set[str] = set()

    def take(self, name: str, shape: tuple[int | None, ...]) -> FloatArray:
        """Return a tensor. None in ``shape`` is any number."""
        if name not in self._tensors:
            raise InputError(f"{self._path} has no tensor {name!r}.", param="model")
        self._used.add(name)
        tensor = self._tensors[name]
        if len(tensor.shape) != len(shape) or any(
            expected not in (None, actual) for expected, actual in zip(shape, tensor.shape, strict=True)
        ):
            expected_shape = " × ".join("any" if size is None else str(size) for size in shape)
            raise InputError(
                f"{self._path}: {name!r} has the shape {' × '.join(map(str, tensor.shape))}; its settings say {expected_shape}.",
                param="model",
            )
        if not np.isfinite(tensor).all():
            raise InputError(
                f"{self._path}: {name!r} has values that are not finite, so the file is damaged.", param="model"
            )
        return tensor

    def close(self) -> None:
        """Raise InputError if there are other tensors."""
        others = sorted(set(self._tensors) - self._used)
        if others:
            raise InputError(
                f"{self._path} has a tensor {others[0]!r} that does not belong to the module.", param="model"
            )


MODULES: Mapping[str, Callable[[Path, bool], list[Step]] | None] = {
    "Transformer": None,
    "StaticEmbedding": None,
    "Pooling": _read_pooling,
    "Dense": _read_dense,
    "LayerNorm": _read_layer_norm,
    "Normalize": _read_normalize,
    "Dropout": _read_dropout,
}
"""Supported modules and their readers. A reader takes the module's folder and whether a pooling was before it."""
