"""``umekomi models``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ...assets.store import AssetStatus, AssetStore
from ...catalog import DEFAULT_MODEL, NOT_OPENAI, Asset, load_catalog
from ...evaluation.model_card import card_facts, describe_model
from ...settings import current
from ...tokens import format_usd
from ..output import TransferBar, echo, echo_err, print_json, print_table
from .model_table import table


@click.group("models", invoke_without_command=True, epilog="Example:  umekomi models pull  then  umekomi models verify")
@click.pass_context
def command(context: click.Context) -> None:
    """List models, show one, fetch and verify their files."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


command.add_command(table)


@command.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_(as_json: bool = False) -> None:
    """Every model, and whether its files are on this machine."""
    catalog = load_catalog()
    store = AssetStore(current())
    cards = [card for card in catalog.models.values() if not card.hidden]
    here = {card.id: all(store.find(asset) for asset in catalog.assets_of(card)) for card in cards}
    if as_json:
        print_json([{**card_facts(card), "here": here[card.id]} for card in cards])
        return
    rows = [
        [
            card.id,
            str(card.dimensions),
            f"{card.max_tokens:,} {card.tokenizer}",
            "–" if card.price_per_1k is None else format_usd(card.price_per_1k),
            "yes" if here[card.id] else "no",
        ]
        for card in cards
    ]
    print_table(["model", "dimensions", "limit in tokens", "hosted price per 1K", "files here"], rows)
    echo(f"\n{NOT_OPENAI}")


@command.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True)
def show(model: str, as_json: bool) -> None:
    """All of a model: its card, what it is made of, its files and their licences.

    The fingerprint names its vector space; it is known where all its files are here. Nothing is fetched.
    """
    about = describe_model(model)
    if as_json:
        print_json(about)
        return
    for name, line in _lines(about):
        echo(f"{name:22} {line}")
    echo("\nMade of:")
    for part in about["parts"]:
        echo(f"  {part['share']:.1%} {part['encoder']}, {part['dimensions']:,} dimensions, license {part['license']}")
        echo(f"    {part['description']}" + (f" Its texts reach to {part['knowledge']}." if part["knowledge"] else ""))
        options = "  ".join(f"{key} {json.dumps(value, ensure_ascii=False)}" for key, value in part["options"].items())
        echo(f"    weight {part['weight']:g}" + (f"  {options}" if options else ""))
    echo("\nFiles:" if about["files"] else "\nFiles: none")
    for file in about["files"]:
        place = file["path"] or f"not here yet: umekomi models pull {model}"
        echo(
            f"  {file['file']}, {file['bytes']:,} bytes, license {file['license']}, of {file['origin']}\n"
            f"    sha256 {file['sha256']}\n    {place}"
        )
    echo(f"\n{about['note']}")


def _lines(about: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """A card's facts in words, in the order in which they are read."""
    yield "id", about["id"]
    yield "description", about["description"]
    yield "dimensions", f"{about['dimensions']:,}, " + ("may be shortened" if about["can_shorten"] else "always all")
    yield "tokenizer", about["tokenizer"]
    yield "limit in tokens", f"{about['max_tokens']:,}"
    yield "newlines", "each becomes a space" if about["replaces_newlines"] else "are kept"
    yield "role", f"{about['role']}s of a search" if about["role"] else "either side of a search"
    yield "other half", about["pair"] or "none"
    yield "space", about["space"]
    fingerprint = about["fingerprint"] or f"known once its files are here: umekomi models pull {about['id']}"
    yield "fingerprint", fingerprint
    price = about["hosted_price_per_1k"]
    yield "hosted: price", "–" if price is None else f"{format_usd(float(price))} for 1,000 tokens"
    yield (
        "hosted: pages per $",
        "–" if about["pages_per_dollar"] is None else f"{about['pages_per_dollar']:,} of 800 tokens",
    )
    yield "hosted: BEIR nDCG@10", "–" if about["hosted_beir"] is None else f"{about['hosted_beir']:.1f}"
    yield "hosted: knows until", about["hosted_knowledge"] or "–"
    yield "hosted: created", about["created"] or "–"
    yield "files", "all here" if about["here"] else "not all here"


@command.command()
@click.argument("models", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every model.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Make a bundle for a machine with no network.",
)
@click.option("--json", "as_json", is_flag=True)
def pull(models: tuple[str, ...], every: bool, folder: Path | None, as_json: bool) -> None:
    """Fetch the files of models (by default of the default model)."""
    store = AssetStore(current(), report=echo_err, transfer=TransferBar())
    assets = _assets(models, every=every)
    if folder is not None:
        paths = store.bundle(assets, folder)
    else:
        paths = [store.path(asset) for asset in assets]
    if as_json:
        print_json([{"name": asset.name, "path": str(path)} for asset, path in zip(assets, paths, strict=True)])
        return
    size = sum(asset.size for asset in assets) / 1e6
    echo(f"{len(assets)} files, {size:.0f} MB, are here and have the promised SHA-256.")
    if folder is not None:
        echo(f"On the other machine: copy {folder} there and set UMEKOMI_ASSET_PATH to it.")


@command.command()
@click.argument("models", nargs=-1)
@click.option("--repair", is_flag=True, help="Fetch again what is corrupt.")
@click.option("--json", "as_json", is_flag=True)
def verify(models: tuple[str, ...], repair: bool, as_json: bool) -> int:
    """Read every file that is here and compare its SHA-256; exit with 2 if one is corrupt."""
    store = AssetStore(current(), report=echo_err, transfer=TransferBar())
    checks = [store.verify(asset) for asset in _assets(models, every=not models)]
    for place, check in enumerate(checks):
        if repair and check.status is AssetStatus.CORRUPT:
            store.repair(check.asset)
            checks[place] = store.verify(check.asset)
    if as_json:
        print_json({check.asset.name: check.status for check in checks})
    else:
        print_table(
            ["status", "file", "of"], [[check.status, check.asset.file, check.asset.origin] for check in checks]
        )
    if any(check.status is AssetStatus.CORRUPT for check in checks):
        echo_err("Mend what is corrupt with `umekomi models verify --repair`.")
        return 2
    return 0


def _assets(models: Iterable[str], *, every: bool) -> list[Asset]:
    catalog = load_catalog()
    ids = [card.id for card in catalog.models.values()] if every else list(models) or [DEFAULT_MODEL]
    found = {asset.name: asset for model in ids for asset in catalog.assets_of(catalog.model(model))}
    return list(found.values())
