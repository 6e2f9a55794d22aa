"""``umekomi models``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from ....assets.prepared import PreparedFiles
from ....assets.store import AssetStatus, AssetStore
from ....catalog import DEFAULT_MODEL, NOT_OPENAI, Asset, load_catalog
from ....encoders.model_ids import ModelType, find_card, is_downloaded, model_type, split_file
from ....encoders.transformer.folder.sentence_transformers import open_folder
from ....errors import AssetMissingError, InputError
from ....evaluation.model_card import card_facts, describe_model
from ....evaluation.model_check import check_model
from ....evaluation.model_figures import LEGEND, TASKS, read_figures, task_cells
from ....settings import current
from ....tokens import format_usd
from ....vectors.matrices import base_model
from ...options import FOLDER, json_option
from ...output import TransferBar, echo, echo_err, print_json, print_table
from .model_check import check, print_check
from .model_convert import convert
from .model_table import table


@click.group("models", invoke_without_command=True, epilog="Example:  umekomi models pull  then  umekomi models verify")
@click.pass_context
def command(context: click.Context) -> None:
    """List, show, download and verify models."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


command.add_command(check)
command.add_command(convert)
command.add_command(table)


@command.command("list")
@json_option
def list_(as_json: bool = False) -> None:
    """List all models: what each is for, its measured quality, and whether its files are on this machine."""
    catalog = load_catalog()
    store = AssetStore(current())
    cards = [card for card in catalog.models.values() if not card.hidden]
    here = {card.id: all(store.find(asset) for asset in catalog.assets_of(card)) for card in cards}
    if as_json:
        figures = read_figures()
        print_json(
            [
                {
                    **card_facts(card),
                    "measured": asdict(figures[card.id]) if card.id in figures else None,
                    "here": here[card.id],
                }
                for card in cards
            ]
        )
        return
    rows = [
        [
            card.id,
            str(card.dimensions),
            card.use or "–",
            *task_cells(card.id),
            "yes" if here[card.id] else "no",
        ]
        for card in cards
    ]
    tasks, languages = zip(*(name.partition(" ")[::2] for name in TASKS), strict=True)
    print_table(["model", "dims", "for", *tasks, "here"], [["", "", "", *languages, ""], *rows])
    echo(f"\n{LEGEND}\n\n{NOT_OPENAI}")


@command.command()
@click.argument("model")
@json_option
def show(model: str, as_json: bool) -> None:
    """Show the card of a model, its parts, its files and their licenses. MODEL may also be a folder, or owner/name.

    The fingerprint identifies the vector space. It is only known if all files are on this machine. Nothing is downloaded.
    """
    base = base_model(model)
    type_ = model_type(base)
    if type_ is ModelType.HUB and not is_downloaded(split_file(base)[0], replace(current(), offline=False)):
        raise AssetMissingError(f"{model} is not on this machine. `umekomi models pull {model}` downloads it.")
    if type_ in (ModelType.FOLDER, ModelType.HUB):
        settings = replace(current(), offline=True)
        print_check(check_model(model, settings=settings, seconds=0), as_json=as_json)
        return
    facts = describe_model(model)
    if as_json:
        print_json(facts)
        return
    for name, value in _card_lines(facts):
        echo(f"{name:22} {value}")
    if matrix := facts["matrix"]:
        echo(f"{'matrix':22} {matrix['path']}, learned for {matrix['learned_for'] or 'an unknown model'}")
    echo("\nParts:")
    for part in facts["parts"]:
        echo(f"  {part['share']:.1%} {part['encoder']}, {part['dimensions']:,} dimensions, license {part['license']}")
        echo(f"    {part['description']}" + (f" Training data until {part['knowledge']}." if part["knowledge"] else ""))
        options = "  ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in part["options"].items())
        echo(f"    weight {part['weight']:g}" + (f"  {options}" if options else ""))
    echo("\nFiles:" if facts["files"] else "\nFiles: none")
    for file in facts["files"]:
        echo(
            f"  {file['file']}, {file['bytes']:,} bytes, license {file['license']}, from {file['origin']}\n"
            f"    sha256 {file['sha256']}\n    {file['path'] or f'missing: umekomi models pull {model}'}"
        )
    echo(f"\n{facts['note']}")


def _card_lines(facts: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Return the lines about the card of a model: name and value."""
    price, pages, beir = facts["hosted_price_per_1k"], facts["pages_per_dollar"], facts["hosted_beir"]
    return (
        ("id", facts["id"]),
        ("description", facts["description"]),
        ("dimensions", f"{facts['dimensions']:,}, {'can be shortened' if facts['can_shorten'] else 'fixed'}"),
        ("tokenizer", facts["tokenizer"]),
        ("limit in tokens", f"{facts['max_tokens']:,}"),
        ("newlines", "are replaced by spaces" if facts["replaces_newlines"] else "are not replaced"),
        ("role", f"{facts['role']} of a search" if facts["role"] else "both query and document"),
        ("counterpart", facts["pair"] or "none"),
        ("space", facts["space"]),
        ("fingerprint", facts["fingerprint"] or f"unknown until the files are here: umekomi models pull {facts['id']}"),
        ("hosted: price", "–" if price is None else f"{format_usd(float(price))} per 1,000 tokens"),
        ("hosted: pages per $", "–" if pages is None else f"{pages:,} of 800 tokens"),
        ("hosted: BEIR nDCG@10", "–" if beir is None else f"{beir:.1f}"),
        ("hosted: data until", facts["hosted_knowledge"] or "–"),
        ("hosted: created", facts["created"] or "–"),
        ("files", "all here" if facts["here"] else "not all here"),
    )


@command.command()
@click.argument("models", nargs=-1)
@click.option("--all", "is_all", is_flag=True, help="Download the files of all models.")
@click.option("--to", "folder", type=FOLDER, help="Copy the files to this folder, for a machine without a network.")
@json_option
def pull(models: tuple[str, ...], is_all: bool, folder: Path | None, as_json: bool) -> None:
    """Download the files of MODELS, by default those of the default model. A model may also be owner/name on the hub."""
    store = AssetStore(current(), report=echo_err, transfer=TransferBar())
    models = tuple(map(base_model, models))
    hub = [model for model in models if model_type(model) is ModelType.HUB]
    if hub and folder is not None:
        raise InputError(
            f"{hub[0]} is not in the catalog. Copy the folder that `umekomi models pull {hub[0]}` prints instead."
        )
    ids = [model for model in models if model not in hub]
    assets = _assets(ids, is_all=is_all) if ids or is_all or not hub else []
    folders = [_download(model) for model in hub]
    if folder is not None:
        paths = store.bundle(assets, folder)
    else:
        paths = [store.path(asset) for asset in assets]
    if as_json:
        names = [*(asset.name for asset in assets), *hub]
        rows = zip(names, [*paths, *folders], strict=True)
        print_json([{"name": name, "path": str(path)} for name, path in rows])
        return
    for model, path in zip(hub, folders, strict=True):
        echo(f"{model} is in {path}.")
    if hub and not assets:
        return
    size = sum(asset.size for asset in assets) / 1e6
    echo(f"{len(assets)} files, {size:.0f} MB, are here and have the expected SHA-256.")
    if folder is not None:
        echo(f"On the other machine, copy {folder} to any folder and set UMEKOMI_ASSET_PATH to it.")


@command.command()
@click.argument("models", nargs=-1)
@click.option("--repair", is_flag=True, help="Download corrupt files again.")
@json_option
def verify(models: tuple[str, ...], repair: bool, as_json: bool) -> int:
    """Compare the SHA-256 of all files on this machine. The exit status is 2 if a file is corrupt."""
    store = AssetStore(current(), report=echo_err, transfer=TransferBar())
    checks = []
    for asset in _assets(models, is_all=not models):
        check = store.verify(asset)
        if repair and check.status is AssetStatus.CORRUPT:
            store.repair(asset)
            check = store.verify(asset)
        checks.append(check)
    if as_json:
        print_json({check.asset.name: check.status for check in checks})
    else:
        rows = [[check.status, check.asset.file, check.asset.origin] for check in checks]
        print_table(["status", "file", "from"], rows)
    if any(check.status is AssetStatus.CORRUPT for check in checks):
        echo_err("Repair corrupt files with `umekomi models verify --repair`.")
        return 2
    return 0


@command.command()
@click.option("--json", "as_json", is_flag=True)
def clean(as_json: bool) -> None:
    """Delete prepared files, such as compiled models, from the cache folder. Later runs prepare them again."""
    size = PreparedFiles(current()).clean()
    if as_json:
        print_json({"bytes": size})
    else:
        echo(f"Deleted {size / 1e6:.0f} MB of prepared files.")


def _download(model: str) -> Path:
    """Download a model of the Hugging Face hub and return its folder."""
    base, file = split_file(model)
    return open_folder(base, current(), file=file, report=echo_err)


def _assets(models: Iterable[str], *, is_all: bool) -> list[Asset]:
    catalog = load_catalog()
    ids = list(catalog.models) if is_all else list(models) or [DEFAULT_MODEL]
    assets = {asset.name: asset for model in ids for asset in catalog.assets_of(find_card(model, catalog))}
    return list(assets.values())
