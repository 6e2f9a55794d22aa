"""Models of the Hugging Face hub: the files that a model needs, and their download.

The size is reported before the weights are downloaded. A model that is already in the hub's cache needs no network.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..assets.store import Report, readable_size
from ..errors import AssetMissingError
from ..settings import Settings

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

logger = logging.getLogger(__name__)
#: Weights in the order of preference: the first pattern with a match is used. Quantized files are never chosen.
_WEIGHTS = (
    r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json",
    r"(openvino/)?openvino_model\.(xml|bin)",
    r"(onnx/)?model\.onnx(_data.*|\.data)?",
    r"(onnx/)?model_fp16\.onnx(_data.*|\.data)?",
)
#: Vocabularies that are not JSON.
_VOCABULARIES = ("vocab.txt", "merges.txt")
#: Names the license in its head.
_CARD = "README.md"
_MODULES = "modules.json"


def choose_files(
    names: Iterable[str], *, modules: Sequence[str] = ("",), file: str = "", prefer_graph: bool = False
) -> list[str]:
    """Return the files of a repository that Umekomi needs: descriptions, the vocabulary, the card, and one set of weights.

    Args:
        names: Paths of all files in the repository.
        modules: Paths of the folders of the modules, in their order.
        file: Path of an ONNX or OpenVINO file that is the weights, instead of the first in the order of preference.
        prefer_graph: Whether ONNX and OpenVINO files come before safetensors in the order of preference.

    >>> names = ["config.json", "model.safetensors", "onnx/model.onnx", "pytorch_model.bin", "2_Dense/model.safetensors"]
    >>> choose_files(names, modules=["", "1_Pooling", "2_Dense"])
    ['2_Dense/model.safetensors', 'config.json', 'model.safetensors']
    """
    paths = sorted(names)
    root = re.escape(_join(modules[0], ""))
    weights: list[str] = []
    stem = re.escape(file.removesuffix(".xml"))
    patterns = (*_WEIGHTS[1:], _WEIGHTS[0]) if prefer_graph else _WEIGHTS
    for pattern in (rf"{stem}(\.xml|\.bin|_data.*|\.data)?",) if file else patterns:
        weights = [path for path in paths if re.fullmatch(root + f"({pattern})", path)]
        if weights:
            break
    module_weights = {_join(module, "model.safetensors") for module in modules[1:] if module}
    others = [path for path in paths if path in module_weights or _is_description(PurePosixPath(path), modules)]
    return sorted({*weights, *others, *({_CARD} & set(paths))})


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _is_description(path: PurePosixPath, modules: Sequence[str]) -> bool:
    folder = "" if len(path.parts) == 1 else path.parent.as_posix()
    return folder in ("", *modules) and (path.suffix == ".json" or path.name in _VOCABULARIES)


def _read_module_paths(path: Path) -> list[str]:
    """Return the folders of the modules in a ``modules.json``. One that is damaged is reported when the model is loaded."""
    try:
        folders = [str(PurePosixPath(module.get("path", ""))) for module in json.loads(path.read_text("utf-8"))]
    except (ValueError, AttributeError, TypeError):
        folders = []
    return ["" if folder == "." else folder for folder in folders] or [""]


def download_model(
    model: str,
    settings: Settings,
    *,
    report: Report,
    file: str = "",
    can_read_tensors: Callable[[Path], bool] = lambda _: True,
) -> Path:
    """Return the folder of a model of the hub. Its files are downloaded unless they are in the hub's cache.

    Args:
        model: ``owner/name``.
        settings: Whether the network may be used.
        report: Callback that receives the size before a download begins.
        file: See :func:`choose_files`.
        can_read_tensors: Returns whether Umekomi supports the architecture in a ``config.json``. If not, ONNX and OpenVINO
            files are preferred to safetensors.

    Raises:
        AssetMissingError: The hub does not respond, or has no such model.
    """
    # Imported lazily, because the import takes a quarter of a second.
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download, try_to_load_from_cache

    try:
        info = None if settings.offline else _describe_repository(HfApi(), model)
        if info is None:
            return find_cached_folder(model)
        commit = info.sha

        def fetch(name: str) -> Path:
            return Path(hf_hub_download(model, name, revision=commit))

        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        modules = _read_module_paths(fetch(_MODULES)) if _MODULES in sizes else [""]
        # The transformer is in the root or, in older models, in 0_Transformer.
        config = _join(modules[0], "config.json")
        prefer_graph = config in sizes and not can_read_tensors(fetch(config))
        names = choose_files(sizes, modules=modules, file=file, prefer_graph=prefer_graph)
        missing = [name for name in names if not isinstance(try_to_load_from_cache(model, name, revision=commit), str)]
        if missing:
            report(_describe(model, [sizes[name] for name in missing]))
        # One after another in this thread: the threads of snapshot_download ignore Ctrl-C until their files are complete.
        for name in sorted(missing, key=lambda name: sizes[name]):
            fetch(name)
        # Records that the main branch has this commit, for later calls without a network.
        return Path(snapshot_download(model, allow_patterns=names, tqdm_class=_make_silent_bar()))
    except Exception as error:  # the client raises errors of several HTTP libraries
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise AssetMissingError(
            f"{model} is not in the catalog, and cannot be downloaded from the Hugging Face hub ({reason}). `umekomi models "
            "list` shows the catalog. The path of a folder must begin with ./ or /."
        ) from error


def find_cached_folder(model: str) -> Path:
    """Return the folder of a model in the hub's cache. It may lack files if a download was interrupted.

    Raises:
        FileNotFoundError: The cache lacks the model.
    """
    from huggingface_hub import try_to_load_from_cache

    for name in ("config.json", "modules.json"):
        path = try_to_load_from_cache(model, name)
        if isinstance(path, str):
            return Path(path).parent
    raise FileNotFoundError("it is not in the hub's cache, and there is no connection to the hub")


def _describe_repository(api: HfApi, model: str) -> ModelInfo | None:
    """Return the commit and the files of a repository, or None if the hub does not respond."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return api.model_info(model, files_metadata=True, timeout=10)
    except (HfHubHTTPError, HFValidationError):  # the hub responds, or the id is invalid
        raise
    except Exception as error:  # errors of the HTTP library that the client uses, which depends on its version
        logger.warning("The Hugging Face hub does not respond (%s); the files in its cache are used.", error)
        return None


def _describe(model: str, sizes: Sequence[int]) -> str:
    files = f"{len(sizes)} file{'s' if len(sizes) != 1 else ''}"
    return f"Fetching {model} ({files}, {readable_size(sum(sizes))}) from the Hugging Face hub …"


def _make_silent_bar() -> type:
    """Return a progress bar that shows nothing."""
    from tqdm import tqdm

    class Silent(tqdm):  # type: ignore[misc]  # mypy does not look into it
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

    return Silent
