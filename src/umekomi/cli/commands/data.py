"""``umekomi data``."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import InputError
from ...evaluation.datasets import (
    DatasetType,
    PublicDataset,
    find_files,
    load_pairs,
    load_retrieval,
    public_dataset,
    public_datasets,
    require_files,
    write_beir,
    write_pairs,
)
from ...files.outputs import explain_write_errors
from ...files.ownership import claim_folder
from ..output import echo, print_json, print_table


@click.group(
    "data",
    epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi data get cranfield  and  umekomi data convert cranfield beir/cranfield",
)
def command() -> None:
    """Find known data sets on this machine, and convert them to the layouts that `evaluate` reads.

    Umekomi contains no data and fetches none: put the files into any folder and name it in UMEKOMI_ASSET_PATH. They are
    known by their SHA-256.
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_(as_json: bool) -> None:
    """Every known set, what it measures, its licence, and whether it is on this machine."""
    if as_json:
        print_json([_facts(known) for known in public_datasets().values()])
        return
    rows = [
        [
            known.name,
            known.type,
            known.rows,
            known.license,
            "yes" if len(find_files(known)) == len(known.files) else "no",
        ]
        for known in public_datasets().values()
    ]
    print_table(["set", "for", "size", "licence", "here"], rows)


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True)
def get(name: str, as_json: bool) -> None:
    """Say where the files of a set lie, with their licence and source."""
    known = public_dataset(name)
    files = require_files(known)
    if as_json:
        print_json(_facts(known))
        return
    echo(f"{known.title}\nSize:     {known.rows}\nLicence:  {known.license}\nSource:   {known.source}")
    for split, path in files.items():
        echo(f"{split}: {path}")


def _facts(known: PublicDataset) -> dict[str, object]:
    here = find_files(known)
    files = [
        {"split": split, "file": asset.file, "sha256": asset.sha256, "bytes": asset.size, "path": here.get(split)}
        for split, asset in zip(known.splits, known.files, strict=True)
    ]
    return {
        "name": known.name,
        "for": known.type,
        "title": known.title,
        "size": known.rows,
        "licence": known.license,
        "source": known.source,
        "files": files,
    }


@command.command()
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True)
def convert(name: str, folder: Path, as_json: bool) -> None:
    """Write a known set to FOLDER: a retrieval set in BEIR's layout, pairs as JSON Lines with named columns."""
    known = public_dataset(name)
    if known.type not in (DatasetType.RETRIEVAL, DatasetType.STS):
        raise InputError(f"{name} needs no conversion: `umekomi data get {name}` says where it is.")
    require_files(known)
    with explain_write_errors(folder):
        claim_folder(folder, content=f"the data set {name}")
    if known.type is DatasetType.RETRIEVAL:
        written = write_beir(load_retrieval(name), folder)
    else:
        written = [write_pairs(load_pairs(name, split=split), folder / f"{split}.jsonl") for split in known.splits]
    if as_json:
        print_json({"name": name, "licence": known.license, "files": written})
        return
    for path in written:
        echo(path)
