"""``umekomi keys``: the keys of a server."""

from __future__ import annotations

from pathlib import Path

import click

from ...serve.limits.keys import add_key, read_keys
from ..output import echo, print_json

_FILE = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="The file, as for `umekomi serve --api-keys`.",
)


@click.group("keys", epilog="Example:  umekomi keys new alice --file keys.txt --rpm 600 --tpm 1000000")
def command() -> None:
    """Make and list the API keys of a server. The file holds their hashes only."""


@command.command("new", epilog="Example:  umekomi keys new alice --file keys.txt")
@click.argument("name")
@_FILE
@click.option("--rpm", type=click.IntRange(1, 10**18), help="Requests a minute; by default no limit.")
@click.option("--tpm", type=click.IntRange(1, 10**18), help="Tokens a minute; by default no limit.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, path: Path, rpm: int | None, tpm: int | None, as_json: bool) -> None:
    """Make a key, add its hash to the file and print the key: it cannot be shown again.

    A running server takes it from the next request on. To take a key away, delete its line.
    """
    secret = add_key(path, name, requests_per_minute=rpm, tokens_per_minute=tpm)
    if as_json:
        print_json({"name": name, "key": secret, "rpm": rpm, "tpm": tpm})
    else:
        echo(secret)


@command.command("list", epilog="Example:  umekomi keys list --file keys.txt")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(path: Path, as_json: bool) -> None:
    """The names and limits of the keys."""
    keys = read_keys(path)
    if as_json:
        rows = [{"name": k.name, "rpm": k.requests_per_minute, "tpm": k.tokens_per_minute} for k in keys]
        print_json({"keys": rows})
        return
    for key in keys:
        echo(f"{key.name}  rpm={key.requests_per_minute or 'any'}  tpm={key.tokens_per_minute or 'any'}")
