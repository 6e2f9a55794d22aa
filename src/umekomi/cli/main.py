"""The root command. It turns every error into one sentence and an exit status."""

from __future__ import annotations

import importlib
import keyword
import os
import re
import sys
from typing import Any

import click

from .. import __version__, registry
from ..errors import InputError, UmekomiError
from ..extras import missing_extra
from .output import OutputError, echo_err, escape, flush_output, prepare_streams
from .status_line import status_line

SECTIONS = {
    "Embed and search": (
        "embedding",
        {
            "code": "Index source code and search it in plain language.",
            "data": "List, locate and convert known data sets.",
            "embed": "Embed texts from files, folders or standard input.",
            "explore": "Explore a set of embeddings in the browser.",
            "import": "Import vectors from a CSV file.",
            "plan": "Estimate the time, machines, storage and cost of embedding a data set.",
            "search": "Search an embedded file or a store by meaning.",
            "tokens": "Count tokens and estimate the hosted price.",
        },
    ),
    "Analyze and predict": (
        "analysis",
        {
            "anomalies": "Find rows that differ from all others.",
            "classify": "Train, evaluate and apply a classifier.",
            "cluster": "Group rows and name each group.",
            "customize": "Learn a matrix that customizes a model for one task.",
            "diversity": "Measure how repetitive a file is, or compare two files.",
            "map": "Draw a map of the rows in two or three dimensions.",
            "profiles": "Build profiles of users and products, and recommend products.",
            "recommend": "Recommend rows that are similar to a row.",
            "regress": "Train, evaluate and apply a regression model.",
            "zero-shot": "Label rows by descriptions of the labels, without training examples.",
        },
    ),
    "Models": (
        "models",
        {
            "bias": "Measure associations and biases of models.",
            "evaluate": "Evaluate models on retrieval, similarity, classification and code search.",
            "models": "List, show, download and verify models.",
            "tune": "Find the fastest settings for this machine and save them.",
        },
    ),
    "Server and stores": (
        "serving",
        {
            "keys": "Create and list API keys of a server.",
            "serve": "Serve the OpenAI-compatible API.",
            "store": "Load, copy, search, list and drop collections of a vector store.",
        },
    ),
}
"""Package and summaries of the commands in each section of the help. The module of a command is imported only when it is called,
so that ``umekomi --help`` is fast.
"""
COMMANDS = {name: package for package, summaries in SECTIONS.values() for name in summaries}
"""Package of each command."""

FAILED, INTERNAL, INTERRUPTED = 2, 70, 130
"""Exit statuses: invalid input or environment, a bug in Umekomi, Ctrl-C."""


_NO_STATUS = {"-h", "--help", "--worker"}
"""Arguments of calls that show no status line: help texts, and the processes of a server."""


_owns_process = False
"""Whether :func:`main` runs, so that nothing else in this process needs Arrow's conversions from and to pandas."""


class _NoPandas:
    """Lets imports of pandas fail."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def _run_pyarrow_without_pandas() -> None:
    """Keep pyarrow from importing pandas, which it does for the first list that it converts, and which takes 0.4 seconds."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None and "pandas" not in sys.modules:
        # pyarrow tries the import only once. Later imports of other packages succeed.
        finder: Any = _NoPandas()
        sys.meta_path.insert(0, finder)
        try:
            pyarrow.array([])
        finally:
            sys.meta_path.remove(finder)


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        arguments: tuple[str, ...] = ctx.obj or ()
        if not arguments or _NO_STATUS.intersection(arguments):
            return super().invoke(ctx)
        # Before the module of the command is imported, which can take a second.
        with status_line.step(f"{ctx.info_name} {arguments[0]}", until_result=True):
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*COMMANDS, *registry.plugins_of(registry.COMMANDS, builtin=COMMANDS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command: click.Command
        plugin = registry.find_plugin(registry.COMMANDS, cmd_name, builtin=COMMANDS)
        if plugin is not None:
            command = plugin.load(expected="a click.Command", is_valid=lambda value: isinstance(value, click.Command))
        elif cmd_name in COMMANDS:
            module = cmd_name.replace("-", "_") + "_" * keyword.iskeyword(cmd_name)
            command = importlib.import_module(f".commands.{COMMANDS[cmd_name]}.{module}", __package__).command
            if ctx.obj and _owns_process and "--ray" not in ctx.obj:
                _run_pyarrow_without_pandas()
        else:
            return None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, (_, summaries) in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(summaries.items()))
        # Plugins are not imported for their help texts.
        plugins = registry.plugins_of(registry.COMMANDS, builtin=COMMANDS)
        if plugins:
            with formatter.section("Plugins"):
                formatter.write_dl(
                    [(name, f"From the package {plugin.package}.") for name, plugin in sorted(plugins.items())]
                )


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example:  umekomi embed reviews.csv -o reviews.parquet  and  umekomi search reviews.parquet 'good coffee'",
)
@click.version_option(__version__, prog_name="umekomi")
def root() -> None:
    """Compute text embeddings on your own machine, with the API and model names of OpenAI but other weights."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit with 0 on success, 2 on invalid input, 70 on a bug and 130 on Ctrl-C."""
    global _owns_process
    _owns_process = True
    prepare_streams()
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status. Errors are printed to standard error as one sentence."""
    status = _run(sys.argv[1:] if arguments is None else arguments)
    return flush_output(status)


def _run(arguments: list[str]) -> int:
    try:
        if any("\0" in argument for argument in arguments):
            raise InputError("An argument contains a NUL character. Remove it.")
        status: Any = root.main(args=arguments, prog_name="umekomi", standalone_mode=False, obj=tuple(arguments))
        return status if isinstance(status, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except SystemExit as stop:
        if _is_broken_pipe(stop.__context__):
            return 0
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else FAILED
    except (KeyboardInterrupt, click.Abort):
        echo_err("Interrupted.")
        return INTERRUPTED
    except OutputError as error:
        # A reader such as `head` closes the pipe when it has read enough.
        return 0 if error.is_broken_pipe else _fail(str(error))
    except click.ClickException as error:
        return _report_usage_error(error)
    except UmekomiError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        return _report_bug(error) if missing is None else _fail(str(missing))
    except OSError as error:
        return _fail(_describe_os_error(error))
    except RuntimeError as error:
        # pathlib raises this for "~" without a home folder and for "~nobody".
        return _fail(f"{error} Set HOME.") if "home directory" in str(error) else _report_bug(error)
    except MemoryError:
        return _fail("Not enough memory. Use fewer or smaller inputs.", INTERNAL)
    except Exception as error:
        return _report_bug(error)


def _is_broken_pipe(error: BaseException | None) -> bool:
    return isinstance(error, BrokenPipeError) or (isinstance(error, OutputError) and error.is_broken_pipe)


def _fail(message: str, status: int = FAILED) -> int:
    _show_traceback()
    echo_err(f"Error: {escape(message, err=True)}")
    return status


def _show_traceback() -> None:
    if os.environ.get("UMEKOMI_DEBUG") == "1":
        import traceback  # imported lazily, so that --help is fast

        echo_err(traceback.format_exc())


def _report_usage_error(error: click.ClickException) -> int:
    """Print the message for an invalid command line, with similar command names."""
    _show_traceback()
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message()
    if context is not None:
        echo_err(context.get_usage())
        echo_err(f"Try '{context.command_path} --help' for help.\n")
        match = re.match("No such command '(.*)'", message, re.DOTALL)
        if match and isinstance(context.command, click.Group) and "Did you mean" not in message:
            names = context.command.list_commands(context)
            import difflib  # imported lazily, so that --help is fast

            if similar := difflib.get_close_matches(match[1].lower(), names, n=3, cutoff=0.5):
                message += f" Did you mean {' or '.join(map(repr, similar))}?"
    echo_err(f"Error: {message}")
    return FAILED


def _describe_os_error(error: OSError) -> str:
    """Return the reason of an OSError and the file that it concerns."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is not None:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        return f"{name if len(name) < 300 else name[:300] + '…'}: {reason}."
    try:
        os.getcwd()
    except OSError:
        return "The current folder no longer exists. Change to another folder."
    return f"The operating system reported an error: {reason}."


def _report_bug(error: Exception) -> int:
    _show_traceback()
    lines = str(error).splitlines()
    cause = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    hint = "" if os.environ.get("UMEKOMI_DEBUG") == "1" else " Set UMEKOMI_DEBUG=1 to see the traceback."
    echo_err(
        f"Error: Unexpected error in Umekomi {__version__} ({escape(cause, err=True)}).{hint} Please report it, with the command "
        "and the traceback, as an issue in the Umekomi repository."
    )
    return INTERNAL
