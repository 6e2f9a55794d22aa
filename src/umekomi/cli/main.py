"""The root command, and the one place that turns errors into a sentence and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from .. import __version__
from ..errors import MissingExtraError, UmekomiError

# Each command's home, named here and imported when it is called: `umekomi --help` must not wait for the heavy parts.
COMMANDS = {
    "zero-shot": ("umekomi.cli.zero_shot", "Label the rows by what the labels say, with no examples."),
    "regress": ("umekomi.cli.regress", "Learn a column's numbers, measure it, save and apply the model."),
    "map": ("umekomi.cli.map", "Lay the rows out in two or three dimensions: a picture or a page."),
    "diversity": ("umekomi.cli.diversity", "Measure how much a file repeats itself, or compare two."),
    "cluster": ("umekomi.cli.cluster", "Group the rows, and name each group."),
    "classify": ("umekomi.cli.classify", "Learn a column's classes, measure it, save and apply the model."),
    "anomalies": ("umekomi.cli.anomalies", "Find the rows that have little to do with the others."),
    "bias": ("umekomi.cli.bias", "Test what a model associates with whom, and how it handles new words."),
    "data": ("umekomi.cli.data", "Find known data sets on this machine, and convert them."),
    "code": ("umekomi.cli.code", "Index source code and search it in plain words."),
    "embed": ("umekomi.cli.embed", "Embed a file of texts: CSV, JSON Lines, Parquet, a folder or standard input."),
    "evaluate": ("umekomi.cli.evaluate", "Measure models: retrieval, similarity, classification, code search."),
    "import": ("umekomi.cli.import_", "Bring in a CSV file whose vectors are written as text."),
    "explore": ("umekomi.cli.explore", "See, search and understand a set of embeddings in the browser."),
    "keys": ("umekomi.cli.keys", "Make and list the API keys of a server."),
    "models": ("umekomi.cli.models", "List, show, fetch and verify models."),
    "plan": ("umekomi.cli.plan", "Say what embedding a data set will take: hours, machines, storage, money."),
    "profiles": ("umekomi.cli.profiles", "Profiles of users and products, and what suits whom."),
    "recommend": ("umekomi.cli.recommend", "Recommend rows that are like a row, without near-duplicates."),
    "search": ("umekomi.cli.search", "Find the nearest texts in an embedded file or a store."),
    "serve": ("umekomi.cli.serve", "Serve the OpenAI-compatible API."),
    "store": ("umekomi.cli.store", "Load, copy, search, list and drop collections of a vector store."),
    "tune": ("umekomi.cli.tune", "Find out how this machine encodes fastest, and keep it."),
    "tokens": ("umekomi.cli.tokens", "Count tokens and what they would cost."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = (error.name or "").split(".")[0]
            if package not in ("sklearn", "scipy", "matplotlib"):
                raise
            raise MissingExtraError(
                f"`umekomi {ctx.invoked_subcommand}` needs the package {package}: pip install 'umekomi[tasks]'."
            ) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with:  umekomi embed reviews.csv -o reviews.parquet  and  umekomi search reviews.parquet 'good coffee'",
)
@click.version_option(__version__, prog_name="umekomi")
def root() -> None:
    """Text embeddings on your own machine: OpenAI's models' names and API, other weights, no cloud."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 on success, 2 on bad input, 130 when interrupted."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run the command line and give its exit status, printing errors as one sentence to standard error."""
    try:
        outcome: Any = root.main(args=arguments, prog_name="umekomi", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except UmekomiError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return 130
    except BrokenPipeError:
        # The reader (`head`, say) has all it wants; keep Python from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return outcome if isinstance(outcome, int) else 0
