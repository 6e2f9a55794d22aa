"""Every command of the command line, with arguments made up from what it declares."""

from __future__ import annotations

from collections.abc import Iterator

import click

from umekomi.cli.main import root

ENDLESS = {"serve", "explore", "tune", "code mcp", "code watch"}
"""Commands that serve or measure for long."""


def leaves() -> dict[str, click.Command]:
    """Every command that is not a group, by the words that call it."""
    found: dict[str, click.Command] = {}
    waiting: list[tuple[tuple[str, ...], click.Command]] = [((), root)]
    while waiting:
        words, command = waiting.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                waiting.append(((*words, name), child))
        else:
            found[" ".join(words)] = command
    return dict(sorted(found.items()))


def arguments(words: str, command: click.Command, source: str, *, model: str = "umekomi-fake") -> list[str]:
    """A call of a command in which every argument, and every option that it needs, is about ``source``."""
    return [*words.split(), *_values(command, source, model)]


def _values(command: click.Command, source: str, model: str) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield from [source] * max(1, parameter.nargs)
        elif isinstance(parameter, click.Option) and not parameter.is_flag:
            name = max(parameter.opts, key=len)
            if name == "--model":
                yield from (name, model)
            elif parameter.required or name in ("--output", "--index"):
                yield name
                kind = parameter.type
                if isinstance(kind, click.Choice):
                    yield str(next(iter(kind.choices)))
                elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
                    yield "1"
                elif name in ("--output", "--index"):
                    yield f"{source}.out.parquet"
                else:
                    yield source
        elif isinstance(parameter, click.Option) and max(parameter.opts, key=len) == "--yes":
            yield "--yes"
