"""Models of the Hugging Face hub: the files that a model needs, and their download.

The size is reported before the weights are downloaded. A model that is already in the hub's cache needs no network.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..assets.store import Report
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


def choose_files(names: Iterable[str], *, file: str = "", prefer_graph: bool = False) -> list[str]:
    """Return the files of a repository that Umekomi needs: descriptions, the vocabulary, the card, and one set of weights.

    Args:
        names: Paths of all files in the repository.
        file: Path of an ONNX or OpenVINO file that is the weights, instead of the first in the order of preference.
        prefer_graph: Whether ONNX and OpenVINO files come before safetensors in the order of preference.

    >>> choose_files(["config.json", "model.safetensors", "onnx/model.onnx", "pytorch_model.bin", "2_Dense/model.safetensors"])
    ['2_Dense/model.safetensors', 'config.json', 'model.safetensors']
    """
    paths = sorted(names)
    # The transformer is in the root or, in older models, in 0_Transformer.
    roots = {"", "0_Transformer/"}
    weights: list[str] = []
    stem = re.escape(file.removesuffix(".xml"))
    patterns = (*_WEIGHTS[1:], _WEIGHTS[0]) if prefer_graph else _WEIGHTS
    for pattern in (rf"{stem}(\.xml|\.bin|_data.*|\.data)?",) if file else patterns:
        weights = [path for path in paths if any(re.fullmatch(root + f"({pattern})", path) for root in roots)]
        if weights:
            break
    others = [path for path in paths if _is_description(PurePosixPath(path)) or _is_module_weight(path)]
    return sorted({*weights, *others, *({_CARD} & set(paths))})


def _is_description(path: PurePosixPath) -> bool:
    return (
        len(path.parts) <= 2
        and path.parent.name not in ("onnx", "openvino")
        and (path.suffix == ".json" or path.name in _VOCABULARIES)
    )


def _is_module_weight(path: str) -> bool:
    """Return whether a file has the weights of a module after the transformer, such as a dense layer."""
    return re.fullmatch(r"[1-9][0-9]*_[A-Za-z]+/model\.safetensors", path) is not None


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
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        # The transformer is in the root or, in older models, in 0_Transformer.
        config = next((name for name in ("config.json", "0_Transformer/config.json") if name in sizes), "")
        prefer_graph = config and not can_read_tensors(Path(hf_hub_download(model, config, revision=info.sha)))
        names = choose_files(sizes, file=file, prefer_graph=bool(prefer_graph))
        missing = [
            name for name in names if not isinstance(try_to_load_from_cache(model, name, revision=info.sha), str)
        ]
        if missing:
            report(_describe(model, [sizes[name] for name in missing]))
        return Path(snapshot_download(model, allow_patterns=names))
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
    return f"Fetching {model} ({len(sizes)} files, {sum(sizes) / 1e6:,.0f} MB) from the Hugging Face hub …"
