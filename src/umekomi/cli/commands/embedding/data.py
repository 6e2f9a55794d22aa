"""``umekomi data``."""

from __future__ import annotations

from pathlib import Path

import click

from ....errors import InputError
from ....evaluation.datasets import (
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
from ....files.outputs import explain_write_errors
from ....files.ownership import claim_folder
from ...options import FOLDER, json_option
from ...output import echo, print_json, print_table


@click.group(
    "data",
    epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi data get cranfield  and  umekomi data convert cranfield beir/cranfield",
)
def command() -> None:
    """List, locate and convert known data sets for `umekomi evaluate`.

    Umekomi neither contains nor downloads data. Put the files into any folder and set UMEKOMI_ASSET_PATH to it. They are
    identified by their SHA-256.
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List all known data sets, their licenses, and whether they are on this machine."""
    datasets = public_datasets().values()
    if as_json:
        print_json([_describe(dataset) for dataset in datasets])
        return
    rows = [
        [
            dataset.name,
            dataset.type,
            dataset.rows,
            dataset.license,
            "yes" if len(find_files(dataset)) == len(dataset.files) else "no",
        ]
        for dataset in datasets
    ]
    print_table(["set", "for", "size", "license", "here"], rows)


@command.command()
@click.argument("name")
@json_option
def get(name: str, as_json: bool) -> None:
    """Print the paths, license and source of a data set."""
    dataset = public_dataset(name)
    files = require_files(dataset)
    if as_json:
        print_json(_describe(dataset))
        return
    echo(f"{dataset.title}\nSize:     {dataset.rows}\nLicense:  {dataset.license}\nSource:   {dataset.source}")
    for split, path in files.items():
        echo(f"{split}: {path}")


def _describe(dataset: PublicDataset) -> dict[str, object]:
    paths = find_files(dataset)
    files = [
        {"split": split, "file": asset.file, "sha256": asset.sha256, "bytes": asset.size, "path": paths.get(split)}
        for split, asset in zip(dataset.splits, dataset.files, strict=True)
    ]
    return {
        "name": dataset.name,
        "for": dataset.type,
        "title": dataset.title,
        "size": dataset.rows,
        "license": dataset.license,
        "source": dataset.source,
        "files": files,
    }


@command.command()
@click.argument("name")
@click.argument("folder", type=FOLDER)
@json_option
def convert(name: str, folder: Path, as_json: bool) -> None:
    """Write a data set to FOLDER: retrieval in the layout of BEIR, pairs as JSON Lines."""
    dataset = public_dataset(name)
    if dataset.type not in (DatasetType.RETRIEVAL, DatasetType.STS):
        raise InputError(f"{name} needs no conversion. `umekomi data get {name}` prints its path.")
    require_files(dataset)
    with explain_write_errors(folder):
        claim_folder(folder, content=f"the data set {name}")
    if dataset.type is DatasetType.RETRIEVAL:
        paths = write_beir(load_retrieval(name), folder)
    else:
        paths = [write_pairs(load_pairs(name, split=split), folder / f"{split}.jsonl") for split in dataset.splits]
    if as_json:
        print_json({"name": name, "license": dataset.license, "files": paths})
        return
    for path in paths:
        echo(path)
