"""The root command, and the one place that turns errors into a sentence and an exit status."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import click

from .. import __version__, registry
from ..errors import InputError, UmekomiError
from ..extras import missing_extra
from . import standard_streams
from .output import OutputError, echo, shown

# Each command's home, named here and imported when it is called: `umekomi --help` must not wait for the heavy parts.
COMMANDS = {
    "zero-shot": ("umekomi.cli.commands.zero_shot", "Label the rows by what the labels say, with no examples."),
    "regress": ("umekomi.cli.commands.regress", "Learn a column's numbers, measure it, save and apply the model."),
    "map": ("umekomi.cli.commands.map", "Lay the rows out in two or three dimensions: a picture or a page."),
    "diversity": ("umekomi.cli.commands.diversity", "Measure how much a file repeats itself, or compare two."),
    "cluster": ("umekomi.cli.commands.cluster", "Group the rows, and name each group."),
    "classify": ("umekomi.cli.commands.classify", "Learn a column's classes, measure it, save and apply the model."),
    "anomalies": ("umekomi.cli.commands.anomalies", "Find the rows that have little to do with the others."),
    "bias": ("umekomi.cli.commands.bias", "Test what a model associates with whom, and how it handles new words."),
    "data": ("umekomi.cli.commands.data", "Find known data sets on this machine, and convert them."),
    "code": ("umekomi.cli.commands.code", "Index source code and search it in plain words."),
    "embed": (
        "umekomi.cli.commands.embed",
        "Embed a file of texts: CSV, JSON Lines, Parquet, a folder or standard input.",
    ),
    "evaluate": (
        "umekomi.cli.commands.evaluate",
        "Measure models: retrieval, similarity, classification, code search.",
    ),
    "import": ("umekomi.cli.commands.import_", "Bring in a CSV file whose vectors are written as text."),
    "explore": ("umekomi.cli.commands.explore", "See, search and understand a set of embeddings in the browser."),
    "keys": ("umekomi.cli.commands.keys", "Make and list the API keys of a server."),
    "models": ("umekomi.cli.commands.models", "List, show, fetch and verify models."),
    "plan": ("umekomi.cli.commands.plan", "Say what embedding a data set will take: hours, machines, storage, money."),
    "profiles": ("umekomi.cli.commands.profiles", "Profiles of users and products, and what suits whom."),
    "recommend": ("umekomi.cli.commands.recommend", "Recommend rows that are like a row, without near-duplicates."),
    "search": ("umekomi.cli.commands.search", "Find the nearest texts in an embedded file or a store."),
    "serve": ("umekomi.cli.commands.serve", "Serve the OpenAI-compatible API."),
    "store": ("umekomi.cli.commands.store", "Load, copy, search, list and drop collections of a vector store."),
    "tune": ("umekomi.cli.commands.tune", "Find out how this machine encodes fastest, and keep it."),
    "tokens": ("umekomi.cli.commands.tokens", "Count tokens and what they would cost."),
}

FAILED, INTERNAL, INTERRUPTED = 2, 70, 130
"""Exit statuses: bad input or surroundings, a bug, Ctrl-C."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *registry.plugins_of(registry.COMMANDS, builtin=COMMANDS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command
        plugin = registry.find_plugin(registry.COMMANDS, cmd_name, builtin=COMMANDS)
        if plugin is not None:
            command = plugin.load(expected="a click.Command", is_valid=lambda value: isinstance(value, click.Command))
        elif cmd_name in COMMANDS:
            command = importlib.import_module(COMMANDS[cmd_name][0]).command
        else:
            return None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Plugins are not imported for their help texts.
        rows = {name: help_text for name, (_, help_text) in COMMANDS.items()}
        for name, plugin in registry.plugins_of(registry.COMMANDS, builtin=COMMANDS).items():
            rows[name] = f"(from the package {plugin.package})"
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  umekomi embed reviews.csv -o reviews.parquet  and  umekomi search reviews.parquet 'good coffee'",
)
@click.version_option(__version__, prog_name="umekomi")
def root() -> None:
    """Text embeddings on your own machine: OpenAI's models' names and API, other weights, no cloud."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 on success, 2 on bad input, 70 on a bug, 130 when interrupted."""
    standard_streams.prepare()
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit status, printing errors as one sentence to standard error."""
    status = _run(sys.argv[1:] if arguments is None else arguments)
    return standard_streams.flush(status)


def _run(arguments: list[str]) -> int:
    try:
        if any("\0" in argument for argument in arguments):
            raise InputError("An argument holds a NUL character.")
        status: Any = root.main(args=arguments, prog_name="umekomi", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        if _is_broken_pipe(stop.__context__):
            return 0
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else FAILED
    except (KeyboardInterrupt, click.Abort):
        echo("Interrupted.", err=True)
        return INTERRUPTED
    except OutputError as error:
        # A reader that has ended, like `head`, has all it wants.
        return 0 if error.is_broken_pipe else _fail(str(error))
    except click.ClickException as error:
        return _show_usage(error)
    except UmekomiError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        return _report_bug(error) if missing is None else _fail(str(missing))
    except OSError as error:
        return _fail(_system_error(error))
    except RuntimeError as error:
        # pathlib, for "~" without a home folder, or "~nobody".
        return _fail(f"{error} Set HOME.") if "home directory" in str(error) else _report_bug(error)
    except MemoryError:
        return _fail("There is not enough memory for this; use fewer or smaller inputs.", INTERNAL)
    except Exception as error:
        return _report_bug(error)


def _is_broken_pipe(error: BaseException | None) -> bool:
    return isinstance(error, BrokenPipeError) or (isinstance(error, OutputError) and error.is_broken_pipe)


def _fail(message: str, status: int = FAILED) -> int:
    _show_traceback()
    echo(f"Error: {shown(message, err=True)}", err=True)
    return status


def _show_traceback() -> None:
    if os.environ.get("UMEKOMI_DEBUG") == "1":
        echo(traceback.format_exc(), err=True)


def _show_usage(error: click.ClickException) -> int:
    """The message of a wrong command line, with the name that is meant where one is close."""
    _show_traceback()
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message()
    if context is not None:
        echo(context.get_usage(), err=True)
        echo(f"Try '{context.command_path} --help' for help.\n", err=True)
        wrong = re.match("No such command '(.*)'", message, re.DOTALL)
        if wrong and isinstance(context.command, click.Group) and "Did you mean" not in message:
            names = context.command.list_commands(context)
            close = difflib.get_close_matches(wrong[1].lower(), names, n=3, cutoff=0.5)
            if close:
                message += f" Did you mean {' or '.join(repr(name) for name in close)}?"
    echo(f"Error: {message}", err=True)
    return FAILED


def _system_error(error: OSError) -> str:
    """What the operating system refused, and for which file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        return f"{name if len(name) < 300 else name[:300] + '…'}: {reason}."
    try:
        Path.cwd()
    except OSError:
        return "The current folder does not exist any more; change to another one."
    return f"The operating system refused this: {reason}."


def _report_bug(error: Exception) -> int:
    _show_traceback()
    lines = str(error).splitlines()
    what = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    hint = "" if os.environ.get("UMEKOMI_DEBUG") == "1" else " UMEKOMI_DEBUG=1 shows the traceback;"
    echo(
        f"Error: Something unexpected happened in Umekomi {__version__} ({shown(what, err=True)}).{hint} please report it with "
        "the command and the traceback as an issue of the Umekomi repository.",
        err=True,
    )
    return INTERNAL
