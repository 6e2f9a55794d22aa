"""All commands, with arguments that are generated from their declarations."""

from __future__ import annotations

from collections.abc import Iterator

import click

from umekomi.cli.main import root

ENDLESS = {"serve", "explore", "tune", "code mcp", "code watch"}
"""Commands that do not end by themselves, or that measure for a long time."""


def leaves() -> dict[str, click.Command]:
    """Return all commands that are not groups, by the words that call them."""
    commands: dict[str, click.Command] = {}
    pending: list[tuple[tuple[str, ...], click.Command]] = [((), root)]
    while pending:
        words, command = pending.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                pending.append(((*words, name), child))
        else:
            commands[" ".join(words)] = command
    return dict(sorted(commands.items()))


def arguments(words: str, command: click.Command, source: str, *, model: str = "umekomi-fake") -> list[str]:
    """Return the arguments of a call in which every argument and every required option is ``source``."""
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
                type_ = parameter.type
                if isinstance(type_, click.Choice):
                    yield str(next(iter(type_.choices)))
                elif isinstance(type_, click.types.IntParamType | click.types.FloatParamType):
                    yield "1"
                elif name in ("--output", "--index"):
                    yield f"{source}.out.parquet"
                else:
                    yield source
        elif isinstance(parameter, click.Option) and max(parameter.opts, key=len) == "--yes":
            yield "--yes"
