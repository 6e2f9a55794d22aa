"""Options that name an output file: checked before the command starts, and locked while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import InputError
from ..files.outputs import locked_output, require_suffix, resolve_output

Command = TypeVar("Command", bound=Callable[..., Any])

TABLE_SUFFIXES = (".parquet", ".pq", ".csv", ".jsonl", ".ndjson")
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
PAGE_SUFFIXES = (".html",)


class OutputFile(click.ParamType[Path]):
    """A file that the command writes.

    Args:
        suffixes: Suffixes that its name may have; none means any.
    """

    name = "file"

    def __init__(self, suffixes: Collection[str]) -> None:
        self._suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path.

        Raises:
            InputError: The name has another suffix, or no file can be written there.
        """
        path = Path(value)
        resolve_output(path)
        if self._suffixes:
            require_suffix(path, self._suffixes)
        return path


def output_option(*names: str, suffixes: Collection[str] = (), **attributes: Any) -> Callable[[Command], Command]:
    """Decorate a command with an option for an output file, whose lock is held while the command runs.

    Args:
        names: As for ``click.option``.
        suffixes: Suffixes that the file's name may have; none means any.
        attributes: As for ``click.option``.
    """
    option = click.option(*names, type=OutputFile(suffixes), **attributes)
    parameter = click.Option(names).name

    def decorate(command: Command) -> Command:
        @wraps(command)
        def locked(*args: Any, **values: Any) -> Any:
            value = values[parameter or ""]
            outputs: tuple[Path, ...] = value if isinstance(value, tuple) else () if value is None else (value,)
            others = [one for name, one in values.items() if name != parameter and isinstance(one, str | Path)]
            with ExitStack() as stack:
                for output in dict.fromkeys(outputs):
                    _require_other_file(output, others)
                    stack.enter_context(locked_output(output, purpose=_command_name()))
                return command(*args, **values)

        return option(locked)  # type: ignore[return-value]

    return decorate


def _command_name() -> str:
    context = click.get_current_context(silent=True)
    return context.command_path if context else "umekomi"


def _require_other_file(output: Path, others: Collection[str | Path]) -> None:
    """Refuse an output that is also an input of the command, which would be lost."""
    for other in others:
        same = False
        with suppress(OSError, ValueError):  # most values of options are no names of files
            same = os.path.samefile(output, other)
        if same:
            raise InputError(f"{output} is both an input and the output. Choose another name for the output.")
