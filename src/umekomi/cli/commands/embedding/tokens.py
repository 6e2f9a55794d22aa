"""``umekomi tokens``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from ....assets.store import AssetStore
from ....catalog import ModelCard, load_catalog
from ....data.readers.base import Records
from ....data.readers.opening import FORMATS, open_records
from ....data.templates import Template, resolve_template
from ....encoders.loading import load_model_tokenizer
from ....encoders.model_ids import ModelType, find_card, model_type
from ....errors import InputError
from ....settings import current
from ....tokens import Tokenizer, format_usd, price
from ....vectors.matrices import base_model
from ...options import FILE, json_option, load_embedder, model_option
from ...output import echo, echo_err, print_json

MAX_ROWS_SHOWN = 20


@click.command(
    "tokens",
    epilog="Examples:  umekomi tokens 'tiktoken is great!'   umekomi tokens --file reviews.csv -t '{Text}'   "
    "umekomi tokens --decode '83 1609 5963'",
)
@click.argument("text", required=False)
@click.option("--file", "file", type=FILE, help="Text file, or file of records.")
@click.option("-t", "--template", help="Text to count in a file of records, such as '{Text}'.")
@model_option
@click.option("--ids", is_flag=True, help="Print the token IDs of the text.")
@click.option("--decode", "decoded", metavar="IDS", help="Print the text of these token IDs, such as '83 1609 5963'.")
@json_option
def command(
    text: str | None,
    file: Path | None,
    template: str | None,
    model: str,
    ids: bool,
    decoded: str | None,
    as_json: bool,
) -> None:
    """Count tokens, and print the price of the hosted model and the texts that are too long.

    If TEXT is -, standard input is read. The count is exact, because it uses the model's own vocabulary. Row numbers start at 1.
    """
    is_records = file is not None and file.suffix.lower() in FORMATS
    if sum(source is not None for source in (text, file, decoded)) > 1:
        raise InputError("Give only one of TEXT, --file and --decode.")
    if template is not None and not is_records:
        raise InputError(f"-t needs a file of records: --file with a name that ends with {', '.join(FORMATS)}.")
    if ids and (is_records or decoded is not None):
        raise InputError("--ids needs a single text: TEXT, or --file with a text file.")
    # The inputs are checked before the vocabulary is loaded.
    token_ids = [] if decoded is None else _parse_ids(decoded)
    content = "" if decoded is not None or is_records else _read(text, file)
    records = open_records(file) if file is not None and is_records else None
    columns = None if records is None else resolve_template(records.schema.names, template)
    card, tokenizer = _load(model)
    if decoded is not None:
        result = tokenizer.decode(token_ids)
        _print_line({"model": card.id, "tokenizer": card.tokenizer, "text": result}, result, as_json)
        return
    if records is not None and columns is not None:
        _print(card, _count_records(records, columns, card, tokenizer), as_json)
        return
    tokens = tokenizer.encode(content)
    facts = _facts(card, len(tokens), 1, [1] if len(tokens) > card.max_tokens else [])
    if ids:
        _print_line({**facts, "ids": tokens}, " ".join(map(str, tokens)), as_json)
    else:
        _print(card, facts, as_json)


def _load(model: str) -> tuple[ModelCard, Tokenizer]:
    catalog = load_catalog()
    if model_type(base_model(model), catalog) in (ModelType.FOLDER, ModelType.HUB):
        embedder = load_embedder(model)
        return embedder.card, embedder.tokenizer
    card = find_card(model, catalog)
    assets = AssetStore(current(), report=echo_err)
    return card, load_model_tokenizer(card, assets=assets, catalog=catalog, settings=current())


def _print_line(facts: dict[str, object], line: str, as_json: bool) -> None:
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
            raise InputError("Standard input is closed. Give the text as an argument.")
        data = sys.stdin.buffer.read()
    elif text is not None:
        return text
    else:
        raise InputError(
            "There is nothing to count. Give a text, as in umekomi tokens 'some text', or a file with --file."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        echo_err(f"The text is not valid UTF-8 (byte {error.start:,}). Invalid bytes are counted as U+FFFD.")
        return data.decode("utf-8-sig", errors="replace")


def _parse_ids(text: str) -> list[int]:
    words = text.strip().strip("[]").replace(",", " ").split()
    invalid = next((word for word in words if not re.fullmatch(r"-?[0-9]{1,20}", word)), None)
    if invalid is not None:
        raise InputError(f"{invalid!r} is not a token ID. Write IDs like '83 1609 5963'.")
    return [int(word) for word in words]


def _count_records(records: Records, template: Template, card: ModelCard, tokenizer: Tokenizer) -> dict[str, object]:
    total = rows = 0
    too_long: list[int] = []
    for _, texts in records.with_texts(template, 1024):
        for count in tokenizer.count_many(texts):
            rows += 1
            total += count
            if count > card.max_tokens:
                too_long.append(rows)
    return _facts(card, total, rows, too_long)


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
        echo(f"The hosted {base_model(card.id)} would have charged {format_usd(cost)}. Here it is free.")
    too_long = facts["too_long_rows"]
    if isinstance(too_long, list) and too_long:
        rows = ", ".join(map(str, too_long[:MAX_ROWS_SHOWN])) + (" …" if len(too_long) > MAX_ROWS_SHOWN else "")
        subject, label = ("1 text has", "row") if len(too_long) == 1 else (f"{len(too_long):,} texts have", "rows")
        echo(f"{subject} more than {card.max_tokens:,} tokens, the model's limit: {label} {rows}")
