"""``umekomi models``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from ..assets import AssetStore, Status
from ..catalog import DEFAULT_MODEL, NOT_OPENAI, Asset, ModelCard, load_catalog
from ..settings import current
from .output import TransferBar, note, print_json, print_table


@click.group("models", invoke_without_command=True, epilog="Example:  umekomi models pull  then  umekomi models verify")
@click.pass_context
def command(context: click.Context) -> None:
    """List models, show one, fetch and verify their files."""
    if context.invoked_subcommand is None:
        context.invoke(list_)


@command.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_(as_json: bool = False) -> None:
    """Every model, and whether its files are on this machine."""
    catalog = load_catalog()
    store = AssetStore(current())
    cards = [card for card in catalog.models.values() if not card.hidden]
    here = {card.id: all(store.find(asset) for asset in catalog.assets_of(card)) for card in cards}
    if as_json:
        print_json([{**_facts(card), "here": here[card.id]} for card in cards])
        return
    rows = [
        [
            card.id,
            str(card.dimensions),
            f"{card.max_tokens:,} {card.tokenizer}",
            "–" if card.price_per_1k is None else f"${card.price_per_1k:g}",
            "yes" if here[card.id] else "no",
        ]
        for card in cards
    ]
    print_table(["model", "dimensions", "limit in tokens", "hosted price per 1K", "files here"], rows)
    click.echo(f"\n{NOT_OPENAI}")


@command.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True)
def show(model: str, as_json: bool) -> None:
    """All of a model: what it is made of, its files and their licences."""
    catalog = load_catalog()
    card = catalog.model(model)
    store = AssetStore(current())
    total = sum(part.weight for part in card.parts)
    parts = [
        {
            "encoder": part.encoder,
            "dimensions": part.options.get("dims", catalog.encoders[part.encoder].dims),
            "share": round(part.weight / total, 4),
            "licence": catalog.encoders[part.encoder].licence,
            "description": catalog.encoders[part.encoder].description,
            "knowledge": catalog.encoders[part.encoder].knowledge,
        }
        for part in card.parts
    ]
    files = [
        {
            "file": asset.file,
            "origin": asset.origin,
            "sha256": asset.sha256,
            "bytes": asset.size,
            "licence": asset.licence,
            "path": str(store.find(asset) or ""),
        }
        for asset in catalog.assets_of(card)
    ]
    if as_json:
        print_json({**_facts(card), "parts": parts, "files": files, "note": NOT_OPENAI})
        return
    for name, value in _facts(card).items():
        click.echo(f"{name:18} {'–' if value in (None, '') else value}")
    click.echo("\nMade of:")
    for made in parts:
        click.echo(
            f"  {made['share']:.0%} {made['encoder']} ({made['dimensions']} dimensions, {made['licence']}): {made['description']}"
            + (f" Its texts reach to {made['knowledge']}." if made["knowledge"] else "")
        )
    click.echo("\nFiles:")
    for found in files:
        place = found["path"] or "not here yet: umekomi models pull " + card.id
        click.echo(
            f"  {found['file']} ({found['licence']}) sha256 {found['sha256']}\n    {found['origin']}\n    {place}"
        )
    click.echo(f"\n{NOT_OPENAI}")


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
    store = AssetStore(current(), report=note, transfer=TransferBar())
    assets = _assets(models, every=every)
    if folder is not None:
        paths = store.bundle(assets, folder)
    else:
        paths = [store.path(asset) for asset in assets]
    if as_json:
        print_json([{"name": asset.name, "path": str(path)} for asset, path in zip(assets, paths, strict=True)])
        return
    size = sum(asset.size for asset in assets) / 1e6
    click.echo(f"{len(assets)} files, {size:.0f} MB, are here and have the promised SHA-256.")
    if folder is not None:
        click.echo(f"On the other machine: copy {folder} there and set UMEKOMI_ASSET_PATH to it.")


@command.command()
@click.argument("models", nargs=-1)
@click.option("--repair", is_flag=True, help="Fetch again what is corrupt.")
@click.option("--json", "as_json", is_flag=True)
def verify(models: tuple[str, ...], repair: bool, as_json: bool) -> int:
    """Read every file that is here and compare its SHA-256; exit with 2 if one is corrupt."""
    store = AssetStore(current(), report=note, transfer=TransferBar())
    checks = [store.verify(asset) for asset in _assets(models, every=not models)]
    for place, check in enumerate(checks):
        if repair and check.status is Status.CORRUPT:
            store.repair(check.asset)
            checks[place] = store.verify(check.asset)
    if as_json:
        print_json({check.asset.name: check.status for check in checks})
    else:
        print_table(
            ["status", "file", "of"], [[check.status, check.asset.file, check.asset.origin] for check in checks]
        )
    if any(check.status is Status.CORRUPT for check in checks):
        note("Mend what is corrupt with `umekomi models verify --repair`.")
        return 2
    return 0


def _assets(models: Iterable[str], *, every: bool) -> list[Asset]:
    catalog = load_catalog()
    ids = [card.id for card in catalog.models.values()] if every else list(models) or [DEFAULT_MODEL]
    found = {asset.name: asset for model in ids for asset in catalog.assets_of(catalog.model(model))}
    return list(found.values())


def _facts(card: ModelCard) -> dict[str, object]:
    return {
        "id": card.id,
        "description": card.description,
        "dimensions": card.dimensions,
        "max_tokens": card.max_tokens,
        "tokenizer": card.tokenizer,
        "role": card.role,
        "hosted_price_per_1k": card.price_per_1k,
        "pages_per_dollar": card.pages_per_dollar,
        "hosted_beir": card.hosted_beir,
        "hosted_knowledge": card.hosted_knowledge,
    }
