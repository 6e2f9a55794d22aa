"""``umekomi tokens``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ...assets.store import AssetStore
from ...catalog import DEFAULT_MODEL, ModelCard, load_catalog
from ...data.readers.opening import FORMATS, open_records
from ...data.templates import resolve_template
from ...embedder import Embedder
from ...encoders.loading import load_model_tokenizer
from ...encoders.model_ids import ModelType, model_type
from ...errors import InputError
from ...settings import current
from ...tokens import Tokenizer, format_usd, price
from ..output import echo, echo_err, print_json

SHOWN = 20


@click.command(
    "tokens",
    epilog="Examples:  umekomi tokens 'tiktoken is great!'   umekomi tokens --file reviews.csv -t '{Text}'   "
    "umekomi tokens --decode '83 1609 5963'",
)
@click.argument("text", required=False)
@click.option(
    "--file", "file", type=click.Path(path_type=Path, dir_okay=False), help="A text file, or a file of records."
)
@click.option("-t", "--template", help="For a file of records: what to count, as '{Text}'.")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True)
@click.option("--ids", is_flag=True, help="Print the token ids of the text.")
@click.option("--decode", "decoded", metavar="IDS", help="Print the text that ids stand for, as '83 1609 5963'.")
@click.option("--json", "as_json", is_flag=True)
def command(
    text: str | None,
    file: Path | None,
    template: str | None,
    model: str,
    ids: bool,
    decoded: str | None,
    as_json: bool,
) -> None:
    """Count tokens, what the hosted model would have charged for them, and which texts are too long.

    TEXT may be - for standard input. Counting is exact: the vocabulary is the model's own. Rows are counted from 1.
    """
    is_records = file is not None and file.suffix.lower() in FORMATS
    if sum(given is not None for given in (text, file, decoded)) > 1:
        raise InputError("Give one of TEXT, --file and --decode.")
    if template is not None and not is_records:
        raise InputError(f"-t is for a file of records: --file with a name that ends in {', '.join(FORMATS)}.")
    if ids and (is_records or decoded is not None):
        raise InputError("--ids is for one text: TEXT, or --file with a text file.")
    card, tokenizer = _load(model)
    if decoded is not None:
        found = tokenizer.decode(_parse_ids(decoded))
        _show({"model": card.id, "tokenizer": card.tokenizer, "text": found}, found, as_json)
        return
    if file is not None and is_records:
        _print(card, _count_records(file, template, card, tokenizer), as_json)
        return
    tokens = tokenizer.encode(_read(text, file))
    facts = _facts(card, len(tokens), 1, [1] if len(tokens) > card.max_tokens else [])
    if ids:
        _show({**facts, "ids": tokens}, " ".join(map(str, tokens)), as_json)
    else:
        _print(card, facts, as_json)


def _load(model: str) -> tuple[ModelCard, Tokenizer]:
    catalog = load_catalog()
    if model_type(model, catalog) in (ModelType.FOLDER, ModelType.HUB):
        embedder = Embedder(model, report=echo_err)
        return embedder.card, embedder.tokenizer
    card = catalog.model(model)
    assets = AssetStore(current(), report=echo_err)
    return card, load_model_tokenizer(card, assets=assets, catalog=catalog, settings=current())


def _show(facts: dict[str, object], line: str, as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        echo(line)


def _read(text: str | None, file: Path | None) -> str:
    if file is not None:
        if not file.is_file():
            raise InputError(f"There is no file {file}.")
        data = file.read_bytes()
    elif text == "-" or (text is None and sys.stdin is not None and not sys.stdin.isatty()):
        if sys.stdin is None:
            raise InputError("Standard input is closed; give the text as an argument.")
        data = sys.stdin.buffer.read()
    elif text is not None:
        return text
    else:
        raise InputError("Say what to count: umekomi tokens 'some text', or --file F.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        echo_err(f"Not all of it is UTF-8 (byte {error.start:,}); what is not counts as U+FFFD.")
        return data.decode("utf-8-sig", errors="replace")


def _parse_ids(text: str) -> list[int]:
    words = text.strip().strip("[]").replace(",", " ").split()
    wrong = next((word for word in words if not re.fullmatch(r"-?[0-9]{1,20}", word)), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} is not a token id; write ids like '83 1609 5963'.")
    return [int(word) for word in words]


def _count_records(file: Path, pattern: str | None, card: ModelCard, tokenizer: Tokenizer) -> dict[str, object]:
    records = open_records(file)
    template = resolve_template(records.schema.names, pattern)
    total = rows = 0
    long: list[int] = []
    for _, texts in records.with_texts(template, 1024):
        for count in tokenizer.count_many(texts):
            rows += 1
            total += count
            if count > card.max_tokens:
                long.append(rows)
    return _facts(card, total, rows, long)


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


def _print(card: ModelCard, facts: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    line = f"{facts['tokens']:,} token{'' if facts['tokens'] == 1 else 's'} of {card.tokenizer}"
    if facts["texts"] != 1:
        line += f" in {facts['texts']:,} texts"
    echo(line)
    cost = facts["hosted_price_usd"]
    if isinstance(cost, float):
        echo(f"The hosted {card.id} would have charged {format_usd(cost)}; here it is free.")
    long = facts["too_long_rows"]
    if isinstance(long, list) and long:
        shown = ", ".join(map(str, long[:SHOWN])) + (" …" if len(long) > SHOWN else "")
        have = "1 text has" if len(long) == 1 else f"{len(long):,} texts have"
        rows = "row" if len(long) == 1 else "rows"
        echo(f"{have} more than {card.max_tokens:,} tokens, the model's limit: {rows} {shown}")
