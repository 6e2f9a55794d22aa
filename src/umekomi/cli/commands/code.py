"""``umekomi code``."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from tqdm import tqdm

from ...codesearch.files import SkipReason
from ...codesearch.index import CODE_MODEL, CodeIndexer, IndexResult, find_index_folder
from ...codesearch.parsing.chunks import ChunkType
from ...codesearch.parsing.languages import LANGUAGE_NAMES
from ...codesearch.search import MIN_SIMILARITY, CodeHit, CodeIndex
from ...embedder import Embedder
from ...errors import InputError
from ...escaping import visible
from ...extras import import_optional
from ..output import Markup, TransferBar, echo, echo_err, escape, is_terminal, print_json, style

LINES = 7
"""Lines of code shown of each hit, as in OpenAI's guide."""

NOTHING = 1
"""The exit status when nothing is found, as grep has it."""

F = TypeVar("F", bound=Callable[..., Any])


def load_embedder(model: str) -> Embedder:
    """A model, telling on standard error what is fetched."""
    return Embedder(model, report=echo_err, transfer=TransferBar())


def index_option(command: F) -> F:
    """``--index``, which every command of the group has."""
    return click.option(
        "--index",
        "index",
        type=click.Path(path_type=Path, file_okay=False),
        help="The folder of the index; by default .umekomi here, or in the nearest folder above that has one.",
    )(command)


def filter_options(command: F) -> F:
    """``--lang`` and ``--path``."""
    command = click.option("--lang", "langs", multiple=True, help="Only this language, as rust; may be given again.")(
        command
    )
    return click.option(
        "--path", "paths", multiple=True, help="Only files that match, as in .gitignore: src/, *.py, !*_test.go."
    )(command)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which hits, and how they are shown."""

    number: int
    langs: tuple[str, ...]
    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    lines: int
    as_json: bool
    index: Path | None


def hit_options(command: Callable[..., int]) -> Callable[..., int]:
    """What every command that prints hits takes; the command is given it together, as ``asked``."""

    @wraps(command)
    def run(**given: Any) -> int:
        asked = _Asked(**{one.name: given.pop(one.name) for one in fields(_Asked)})
        check_languages(asked.langs)
        return command(asked=asked, **given)

    options = [
        click.option("-n", "--number", type=click.IntRange(1), default=5, show_default=True, help="How many hits."),
        filter_options,
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            type=click.Choice([kind.value for kind in ChunkType]),
            help="Only this kind; may be given again.",
        ),
        click.option(
            "--lines", type=click.IntRange(0), default=LINES, show_default=True, help="Lines of code shown of each."
        ),
        click.option("--json", "as_json", is_flag=True, help="The hits as JSON."),
        index_option,
    ]
    for option in reversed(options):
        run = option(run)
    return run


@click.group(
    "code", epilog="Example:  umekomi code index .   and then   umekomi code search 'where is the input validated'"
)
def command() -> None:
    """Search source code in plain words: index folders once, then ask.

    The index is kept in .umekomi of the repository (a .gitignore in it keeps it out of git) and is brought up to date by
    running `umekomi code index` again: only files that changed are read.
    """


@command.command(epilog="Example:  umekomi code index src docs --verbose")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("-m", "--model", help=f"The code model; by default that of the index, else {CODE_MODEL}.")
@click.option("--watch", is_flag=True, help="Go on, and index files again as they change, until Ctrl-C.")
@click.option("--verbose", is_flag=True, help="Count the files that were left out, for each reason.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--json", "as_json", is_flag=True, help="What was done as JSON.")
@index_option
def index(
    paths: tuple[Path, ...],
    model: str | None,
    watch: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    index: Path | None,
) -> int:
    """Index files and folders, or bring an index up to date.

    Python is cut into functions, methods and classes by its own grammar, 22 other languages by theirs, prose by section,
    notebooks cell by cell, and everything else by lines. Respects .gitignore; leaves out what is binary, minified, generated,
    vendored or larger than 1 MiB. Without PATHS, all that was indexed before is looked through again.
    """
    # Without the vector store nothing can be kept, so say so before a model is loaded or even downloaded.
    import_optional("lancedb", "A code index")
    folder = index or find_index_folder(Path.cwd())
    indexer = CodeIndexer(folder, embedder=load_embedder, model=model, report=echo_err)
    try:
        _run(indexer, folder, paths, verbose=verbose, quiet=quiet, as_json=as_json)
        if watch:
            _watch(indexer, folder, paths, as_json=as_json)
    except KeyboardInterrupt:
        echo_err("Interrupted. What is finished is kept; the same command goes on from there.")
        return 130
    return 0


def _run(
    indexer: CodeIndexer, folder: Path, paths: tuple[Path, ...], *, verbose: bool, quiet: bool, as_json: bool
) -> None:
    began = time.monotonic()
    interval = 0.5 if sys.stderr.isatty() else 10.0
    texts = 0
    with tqdm(unit=" files", disable=quiet, file=sys.stderr, mininterval=interval, delay=0.5) as bar:

        def advance(files: int, total: int, new: int) -> None:
            nonlocal texts
            texts += new
            bar.total = total or bar.total
            bar.set_postfix_str(f"{texts:,} texts embedded", refresh=False)
            bar.update(files)
            if new and sys.stderr.isatty():
                bar.refresh()

        report = indexer.update(paths, progress=advance)
    report.seconds = time.monotonic() - began
    _print_report(report, folder, verbose=verbose, as_json=as_json)


def _print_report(report: IndexResult, folder: Path, *, verbose: bool, as_json: bool) -> None:
    left_out = {str(reason): count for reason, count in report.skipped.counts.most_common()}
    if as_json:
        unreadable = [{"path": path, "reason": reason} for path, reason in report.skipped.unreadable.items()]
        facts = asdict(report) | {"index": str(folder), "skipped": left_out, "unreadable": unreadable}
        print_json(facts)
        return
    changes = f"{report.added:,} new, {report.changed:,} changed, {report.removed:,} gone"
    echo(
        f"{folder}: {report.files:,} files ({changes}), {report.chunks:,} chunks; "
        f"{report.embedded:,} texts embedded, {report.seconds:.1f} s"
    )
    if verbose:
        for skip, count in report.skipped.counts.most_common():
            if skip is not SkipReason.UNREADABLE:
                example = report.skipped.examples[skip]
                echo_err(f"left out {count:,} {skip}: {escape(example, err=True)}{' …' if count > 1 else ''}")
        for path, reason in report.skipped.unreadable.items():
            echo_err(f"left out unreadable {escape(path, err=True)}: {reason}")
        if (more := report.skipped.counts[SkipReason.UNREADABLE] - len(report.skipped.unreadable)) > 0:
            echo_err(f"left out {more:,} more unreadable")
    elif left_out:
        echo_err(f"{sum(left_out.values()):,} files and folders were left out; --verbose says why.")


def _watch(indexer: CodeIndexer, folder: Path, paths: tuple[Path, ...], *, as_json: bool) -> None:
    # Here, because only --watch needs it.
    from watchfiles import watch

    roots = paths or CodeIndex(folder, embedder=load_embedder).roots()
    own = Path(os.path.realpath(folder))
    echo_err(f"Watching {', '.join(map(str, roots))}; Ctrl-C ends it.")
    for changes in watch(*roots, debounce=500, raise_interrupt=True):
        if all(own in Path(os.path.realpath(name)).parents or "/.git/" in name for _, name in changes):
            continue
        began = time.monotonic()
        report = indexer.update(paths)
        report.seconds = time.monotonic() - began
        if report.added or report.changed or report.removed:
            _print_report(report, folder, verbose=False, as_json=as_json)


@command.command(epilog="Example:  umekomi code search 'completions API tests' --lang python --path tests/")
@click.argument("query")
@hit_options
def search(query: str, asked: _Asked) -> int:
    """Find code by a question in plain words. The exit status is 1 when nothing is found."""
    found = open_index(asked.index).search(
        query, n=asked.number, langs=asked.langs, paths=asked.paths, kinds=asked.kinds
    )
    return _print_hits(found, query, asked.lines, as_json=asked.as_json, about={"query": query})


@command.command(epilog="Example:  umekomi code similar src/app.py:120")
@click.argument("place", metavar="FILE:LINE")
@hit_options
def similar(place: str, asked: _Asked) -> int:
    """Find what looks like the function, class or section at a line of an indexed file."""
    file, separator, line = place.rpartition(":")
    if not separator or not line.isdecimal() or not file:
        raise InputError(f"{place} names no line of a file; write it like src/app.py:120.")
    found = open_index(asked.index).similar(
        Path(file), int(line), n=asked.number, langs=asked.langs, paths=asked.paths, kinds=asked.kinds
    )
    return _print_hits(found, "", asked.lines, as_json=asked.as_json, about={"place": place})


@command.command(epilog="Example:  umekomi code duplicates --at-least 0.9 --path src/")
@click.option(
    "--at-least",
    type=float,
    default=MIN_SIMILARITY,
    show_default=True,
    help="The share of words that copies have in common.",
)
@click.option(
    "--min-lines", type=click.IntRange(1), default=5, show_default=True, help="Shorter functions are left alone."
)
@filter_options
@click.option("--json", "as_json", is_flag=True, help="The groups as JSON.")
@index_option
def duplicates(
    at_least: float, min_lines: int, langs: tuple[str, ...], paths: tuple[str, ...], as_json: bool, index: Path | None
) -> int:
    """List functions that are near-copies of each other, in groups. The exit status is 1 when there are none."""
    check_languages(langs)
    groups = open_index(index).duplicates(alike=at_least, min_lines=min_lines, langs=langs, paths=paths)
    if as_json:
        print_json({"groups": [asdict(group) for group in groups]})
    for number, group in enumerate([] if as_json else groups, start=1):
        echo(f"{number}. {len(group.chunks)} near-copies, {group.alike:.0%} of the words the same")
        for chunk in group.chunks:
            echo(f"   {_where(chunk)}  {chunk.name}")
    if not groups:
        echo_err("No function is a near-copy of another.")
    return 0 if groups else NOTHING


@command.command(epilog="Example:  umekomi code info")
@click.option("--json", "as_json", is_flag=True)
@index_option
def info(as_json: bool, index: Path | None) -> None:
    """What the index holds: folders, files by language, chunks, model."""
    facts = open_index(index).info()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{lang} {count:,}" for lang, count in value.items())
        elif isinstance(value, list):
            value = ", ".join(value)
        echo(f"{name:12} {f'{value:,}' if isinstance(value, int) else value}")


@command.command(epilog="Example:  claude mcp add code -- umekomi code mcp --index /my/repository/.umekomi")
@click.option("--update", is_flag=True, help="Bring the index up to date before each answer.")
@index_option
def mcp(update: bool, index: Path | None) -> None:
    """Answer editors and assistants over the Model Context Protocol, on standard input and output.

    Tools: search_code, similar_code, duplicate_code, code_index_info. The index must be there already.
    """
    # Here, because only this command needs the package.
    from .code_mcp import serve

    serve(index or find_index_folder(Path.cwd()), update=update, embedder=load_embedder)


def open_index(folder: Path | None) -> CodeIndex:
    """The index for reading, with the model loaded at the first question."""
    return CodeIndex(folder or find_index_folder(Path.cwd()), embedder=load_embedder)


def check_languages(langs: tuple[str, ...]) -> None:
    """Raise InputError for a language that nothing can be in."""
    for lang in langs:
        if lang not in LANGUAGE_NAMES:
            raise InputError(f"There is no language {lang!r}; those that are known are {', '.join(LANGUAGE_NAMES)}.")


def _print_hits(hits: list[CodeHit], query: str, lines: int, *, as_json: bool, about: dict[str, str]) -> int:
    if as_json:
        print_json({**about, "hits": [asdict(hit) for hit in hits]})
    for place, hit in enumerate([] if as_json else hits):
        if place and lines:
            echo()
        head = style(_where(hit), fg="magenta")
        label = hit.name if hit.kind in ("section", "window", "module") else hit.signature
        score = style(f"{hit.score:.3f}", fg="green")
        cell = f"cell {hit.cell}  " if hit.cell else ""
        echo(Markup(f"{head}  {score}  {escape(hit.kind)}  {cell}{escape(label or hit.signature)}"))
        for number, line in enumerate(hit.source.split("\n")[:lines], start=hit.start):
            echo(Markup(f"{style(f'{number:>6}', dim=True)}  {highlight(line, query)}"))
    if not hits:
        echo_err("Nothing was found.")
    return 0 if hits else NOTHING


def _where(hit: CodeHit) -> str:
    """``path:line``, as seen from here where that is shorter, so that editors and terminals open it."""
    try:
        path = Path(hit.file).relative_to(Path.cwd())
    except ValueError:
        path = Path(hit.file)
    return f"{path}:{hit.start}"


def highlight(line: str, query: str) -> Markup:
    """A line with the words of the query in bold, and with visible escapes; as it is where the output is no terminal."""
    if not is_terminal():
        return Markup(line)
    line = visible(line)
    words = {word.lower() for word in re.findall(r"\w{3,}", query)}
    stems = sorted(
        {re.sub(r"(ations?|ings?|ions?|ed|es|s)$", "", word) or word for word in words}, key=len, reverse=True
    )
    stems = [stem for stem in stems if len(stem) > 2]
    if not stems:
        return Markup(line)
    pattern = re.compile("|".join(map(re.escape, stems)), re.IGNORECASE)
    return Markup(pattern.sub(lambda match: style(match.group(), bold=True, fg="yellow"), line))
