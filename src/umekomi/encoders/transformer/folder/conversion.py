"""Convert a model folder into one with an ONNX file. The export itself is in :mod:`.onnx_export`, which needs torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ....extras import import_optional
from ....files.ownership import OutputLock, claim_folder, folder_content, remove_folder
from ....settings import Settings

CONTENT = "a converted model"


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion."""

    file: Path
    #: Size of the file and of the file of its weights.
    n_bytes: int
    #: Lowest cosine between vectors of the source and of the file.
    cosine: float


def convert_model(folder: Path, output: Path, settings: Settings, *, report: Callable[[str], None]) -> Conversion:
    """Write a copy of a model folder with an ONNX file instead of safetensors.

    Args:
        folder: Folder of a model in the format of sentence-transformers or transformers, with safetensors.
        output: New folder. An existing one is replaced only if this function created it.
        settings: Threads.
        report: Callback that receives one line of text for each step.

    Raises:
        InputError: The folder is not an embedding model that transformers can load and torch can export, the vectors differ, or
            ``output`` was not created by this function.
        MissingExtraError: transformers, torch or onnxscript is not installed.
    """
    root = _find_transformer(folder)
    exporter = import_optional("umekomi.encoders.transformer.folder.onnx_export", "Converting models")
    with OutputLock(output, purpose="umekomi models convert"):
        if folder.resolve() in (output.resolve(), *output.resolve().parents):
            raise InputError(f"{output} is the model itself or inside it. Choose another folder.")
        if folder_content(output) == CONTENT:
            remove_folder(output, content=CONTENT)
        claim_folder(output, content=CONTENT)
        try:
            report(f"Loading {folder} with transformers …")
            model = exporter.load_network(root)
            exporter.copy_descriptions(folder, output, root=root)
            target = output / root.relative_to(folder)
            file = target / exporter.FILE
            report(f"Exporting {file} …")
            exporter.export_network(model, file)
            report("Comparing vectors …")
            cosine = exporter.compare(model, target, settings)
            if not cosine >= exporter.MIN_COSINE:
                raise InputError(
                    f"The vectors of the exported file differ from those of {folder} (cosine {cosine:.4f})."
                )
        except BaseException:
            remove_folder(output, content=CONTENT)
            raise
    return Conversion(file, sum(path.stat().st_size for path in file.parent.iterdir()), cosine)


def _find_transformer(folder: Path) -> Path:
    """Return the folder of the transformer of a model."""
    root = folder
    if (folder / "modules.json").is_file():
        try:
            root = folder / json.loads((folder / "modules.json").read_text("utf-8"))[0].get("path", "")
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise InputError(f"{folder / 'modules.json'} is damaged.", param="model") from error
    # Imported lazily, because these modules import this package.
    from ...cross_encoder.folder import is_cross_encoder
    from ...sparse.splade import is_splade

    kind = "SPLADE model" if is_splade(folder) else "reranker" if is_cross_encoder(folder) else ""
    if kind:
        raise InputError(
            f"{folder} is a {kind}. Umekomi converts embedding models only, because it exports no layer for scores or words.",
            param="model",
        )
    for name in ("config.json", "tokenizer.json"):
        if not (root / name).is_file():
            raise InputError(f"{root} has no {name}, so it is not the folder of a transformer.", param="model")
    return root
