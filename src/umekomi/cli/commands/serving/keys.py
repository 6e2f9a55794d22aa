"""``umekomi keys``."""

from __future__ import annotations

from pathlib import Path

import click

from ....serve.limits.keys import add_key, read_keys
from ...options import FILE, json_option
from ...output import echo, print_json

_file_option = click.option(
    "--file", "path", type=FILE, required=True, help="File of keys, as for `umekomi serve --api-keys`."
)


@click.group("keys", epilog="Example:  umekomi keys new alice --file keys.txt --rpm 600 --tpm 1000000")
def command() -> None:
    """Create and list API keys of a server. The file contains only their hashes."""


@command.command("new", epilog="Example:  umekomi keys new alice --file keys.txt")
@click.argument("name")
@_file_option
@click.option("--rpm", type=click.IntRange(1, 10**18), help="Maximum requests per minute. Default: unlimited.")
@click.option("--tpm", type=click.IntRange(1, 10**18), help="Maximum tokens per minute. Default: unlimited.")
@json_option
def new(name: str, path: Path, rpm: int | None, tpm: int | None, as_json: bool) -> None:
    """Create a key, add its hash to the file, and print the key once.

    A running server accepts the key from the next request on. Delete its line to revoke it.
    """
    secret = add_key(path, name, requests_per_minute=rpm, tokens_per_minute=tpm)
    if as_json:
        print_json({"name": name, "key": secret, "rpm": rpm, "tpm": tpm})
    else:
        echo(secret)


@command.command("list", epilog="Example:  umekomi keys list --file keys.txt")
@_file_option
@json_option
def list_(path: Path, as_json: bool) -> None:
    """List the names and limits of the keys."""
    keys = read_keys(path)
    if as_json:
        rows = [{"name": k.name, "rpm": k.requests_per_minute, "tpm": k.tokens_per_minute} for k in keys]
        print_json({"keys": rows})
        return
    for key in keys:
        echo(f"{key.name}  rpm={key.requests_per_minute or 'any'}  tpm={key.tokens_per_minute or 'any'}")
