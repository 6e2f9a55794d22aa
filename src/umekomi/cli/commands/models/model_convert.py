"""``umekomi models convert``."""

from __future__ import annotations

from pathlib import Path

import click

from ....encoders.transformer.folder.conversion import convert_model
from ....settings import current
from ...output import echo, echo_err, print_json


@click.command("convert", epilog="Example:  umekomi models convert ./my-model -o ./my-model-onnx")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="New folder. An existing one is replaced only if this command created it.",
)
@click.option("--json", "as_json", is_flag=True)
def convert(folder: Path, output: Path, as_json: bool) -> None:
    """Write a copy of the folder of an embedding model with an ONNX file instead of safetensors, and compare both.

    This is for models of architectures that Umekomi does not know but transformers does. Needs the extra `convert`.
    """
    result = convert_model(folder, output, current(), report=echo_err)
    if as_json:
        print_json({"file": str(result.file), "bytes": result.n_bytes, "cosine": result.cosine})
        return
    echo(f"{result.file}: {result.n_bytes:,} bytes, lowest cosine to the source {result.cosine:.6f}.")
