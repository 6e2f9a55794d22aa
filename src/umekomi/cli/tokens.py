"""``umekomi tokens``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..assets import AssetStore
from ..catalog import DEFAULT_MODEL, ModelCard, load_catalog
from ..errors import InputError
from ..records import FORMATS, open_records, template_for
from ..settings import current
from ..tokens import Tokenizer, load_tokenizer, price
from .output import note, print_json

SHOWN = 20


@click.command("tokens", epilog="Example:  umekomi tokens --file reviews.csv -t '{Text}'")
@click.argument("text", required=False)
@click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="A text file, or a file of records."
)
@click.option("-t", "--template", help="For a file of records: what to count, as '{Text}'.")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--ids", is_flag=True, help="Print the token ids of TEXT.")
@click.option("--json", "as_json", is_flag=True)
def command(text: str | None, file: Path | None, template: str | None, model: str, ids: bool, as_json: bool) -> None:
    """Count tokens, what the hosted model would have charged for them, and which texts are too long.

    TEXT may be - for standard input. Counting is exact: the vocabulary is the model's own.
    """
    card = load_catalog().model(model)
    tokenizer = load_tokenizer(card.tokenizer, assets=AssetStore(current(), report=note))
    if file is not None and file.suffix.lower() in FORMATS:
        _count_records(file, template, card, tokenizer, as_json)
        return
    if file is not None:
        if not file.is_file():
            raise InputError(f"There is no file {file}.")
        text = file.read_text("utf-8", errors="replace")
    elif text == "-" or (text is None and not sys.stdin.isatty()):
        text = sys.stdin.read()
    if text is None:
        raise InputError("Say what to count: umekomi tokens 'some text', or --file F.")
    tokens = tokenizer.encode(text)
    if ids and not as_json:
        click.echo(" ".join(map(str, tokens)))
        return
    facts = _facts(card, len(tokens), 1, [1] if len(tokens) > card.max_tokens else [])
    if as_json:
        print_json({**facts, "ids": tokens} if ids else facts)
    else:
        _print(card, facts)


def _count_records(file: Path, pattern: str | None, card: ModelCard, tokenizer: Tokenizer, as_json: bool) -> None:
    records = open_records(file)
    template = template_for(records.schema.names, pattern)
    total = rows = 0
    long: list[int] = []
    for batch in records.batches(1024):
        for row in batch.to_pylist():
            count = tokenizer.count(template.fill(row))
            rows += 1
            total += count
            if count > card.max_tokens:
                long.append(rows)
    facts = _facts(card, total, rows, long)
    if as_json:
        print_json(facts)
    else:
        _print(card, facts)


def _facts(card: ModelCard, tokens: int, texts: int, too_long: list[int]) -> dict[str, object]:
    return {
        "model": card.id,
        "tokenizer": card.tokenizer,
        "texts": texts,
        "tokens": tokens,
        "hosted_price_usd": price(tokens, card),
        "max_tokens": card.max_tokens,
        "too_long_rows": too_long,
    }


def _print(card: ModelCard, facts: dict[str, object]) -> None:
    line = f"{facts['tokens']:,} tokens of {card.tokenizer}"
    if facts["texts"] != 1:
        line += f" in {facts['texts']:,} texts"
    click.echo(line)
    cost = facts["hosted_price_usd"]
    if isinstance(cost, float):
        click.echo(f"The hosted {card.id} would have charged ${cost:.6f}; here it is free.")
    long = facts["too_long_rows"]
    if isinstance(long, list) and long:
        shown = ", ".join(map(str, long[:SHOWN])) + (" …" if len(long) > SHOWN else "")
        click.echo(f"{len(long):,} texts have more than {card.max_tokens:,} tokens, the model's limit: rows {shown}")
