"""``umekomi code``."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ....codesearch.files import SkipReason
from ....codesearch.index import CODE_MODEL, CodeIndexer, find_index_folder
from ....codesearch.index_run import IndexResult
from ....codesearch.parsing.chunks import ChunkType
from ....codesearch.parsing.languages import LANGUAGE_NAMES
from ....codesearch.search import MIN_SIMILARITY, CodeHit, CodeIndex
from ....errors import InputError
from ....escaping import visible
from ....extras import import_optional
from ...options import (
    FOLDER,
    PATH,
    ModelName,
    choice,
    integer_option,
    json_option,
    load_embedder,
    option_group,
    quiet_option,
)
from ...output import Markup, create_bar, echo, echo_err, escape, is_terminal, print_facts, print_json, style

N_LINES = 7
"""Number of lines that are shown of each hit, as in OpenAI's guide."""

NO_HITS = 1
"""Exit status if there are no hits, as in grep."""


index_option = click.option(
    "--index",
    type=FOLDER,
    help="Folder of the index. Default: .umekomi in the current folder, or in the nearest parent folder that has one.",
)
lang_option = click.option("--lang", "langs", multiple=True, help="Only this language, such as rust. Repeatable.")
path_option = click.option(
    "--path",
    "paths",
    multiple=True,
    help="Only files that match this pattern of .gitignore: src/, *.py, !*_test.go. Repeatable.",
)


@dataclass(frozen=True, slots=True)
class HitOptions:
    """Options of commands that print hits; see the help texts below."""

    number: int
    langs: tuple[str, ...]
    paths: tuple[str, ...]
    kinds: tuple[str, ...]
    lines: int
    as_json: bool
    index: Path | None


hit_options: Callable[[Callable[..., int]], Callable[..., int]] = option_group(
    HitOptions,
    integer_option("-n", "--number", minimum=1, default=5, help="Number of hits."),
    path_option,
    lang_option,
    click.option("--kind", "kinds", multiple=True, type=choice(ChunkType), help="Only this type of code. Repeatable."),
    integer_option("--lines", minimum=0, default=N_LINES, help="Number of lines to show of each hit."),
    json_option,
    index_option,
)


@click.group(
    "code", epilog="Example:  umekomi code index .   and then   umekomi code search 'where is the input validated'"
)
def command() -> None:
    """Search source code by meaning: index folders once, then search them.

    The index is stored in the folder .umekomi of the repository, which git ignores. Run `umekomi code index` again to update it;
    only changed files are read.
    """


@command.command(epilog="Example:  umekomi code index src docs --verbose")
@click.argument("paths", nargs=-1, type=PATH)
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    type=ModelName(),
    help=f"Model to use. Default: the model of the index, or {CODE_MODEL}.",
)
@click.option("--watch", is_flag=True, help="Keep running, and index files when they change, until Ctrl-C.")
@click.option("--verbose", is_flag=True, help="Show how many files were skipped for which reason.")
@quiet_option
@json_option
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
    """Index files and folders, or update an index.

    Python and 22 other languages are split into functions, methods and classes by their grammars, prose into sections, notebooks
    into cells, and everything else into groups of lines. Files that .gitignore excludes, and binary, minified, generated and
    vendored files and those larger than 1 MiB are skipped. Without PATHS, everything that was indexed before is updated.
    """
    # Fail before a model is loaded or even downloaded.
    import_optional("lancedb", "A code index")
    folder = index or find_index_folder(Path.cwd())
    indexer = CodeIndexer(folder, embedder=load_embedder, model=model, report=echo_err)
    try:
        _run(indexer, folder, paths, verbose=verbose, quiet=quiet, as_json=as_json)
        if watch:
            _watch(indexer, folder, paths, as_json=as_json)
    except KeyboardInterrupt:
        echo_err("Interrupted. Finished files are kept. Run the same command to continue.")
        return 130
    return 0


def _run(
    indexer: CodeIndexer, folder: Path, paths: tuple[Path, ...], *, verbose: bool, quiet: bool, as_json: bool
) -> None:
    began = time.monotonic()
    texts = 0
    with create_bar(unit=" files", quiet=quiet) as bar:

        def advance(files: int, total: int, new: int) -> None:
            nonlocal texts
            texts += new
            bar.total = total or bar.total
            bar.set_postfix_str(f"{texts:,} texts embedded", refresh=False)
            bar.update(files)
            if new and is_terminal(err=True):
                bar.refresh()

        report = indexer.update(paths, progress=advance)
    report.seconds = time.monotonic() - began
    _print_report(report, folder, verbose=verbose, as_json=as_json)


def _print_report(report: IndexResult, folder: Path, *, verbose: bool, as_json: bool) -> None:
    skipped = {str(reason): count for reason, count in report.skipped.counts.most_common()}
    if as_json:
        unreadable = [{"path": path, "reason": reason} for path, reason in report.skipped.unreadable.items()]
        facts = asdict(report) | {"index": str(folder), "skipped": skipped, "unreadable": unreadable}
        print_json(facts)
        return
    changes = f"{report.added:,} new, {report.changed:,} changed, {report.removed:,} removed"
    echo(
        f"{folder}: {report.files:,} files ({changes}), {report.chunks:,} chunks; "
        f"{report.embedded:,} texts embedded, {report.seconds:.1f} s"
    )
    if verbose:
        for reason, count in report.skipped.counts.most_common():
            if reason is not SkipReason.UNREADABLE:
                example = report.skipped.examples[reason]
                echo_err(f"skipped {count:,} {reason}: {escape(example, err=True)}{' …' if count > 1 else ''}")
        for path, error in report.skipped.unreadable.items():
            echo_err(f"skipped unreadable {escape(path, err=True)}: {error}")
        if (n_more := report.skipped.counts[SkipReason.UNREADABLE] - len(report.skipped.unreadable)) > 0:
            echo_err(f"skipped {n_more:,} more unreadable files")
    elif skipped:
        echo_err(f"{sum(skipped.values()):,} files and folders were skipped. Use --verbose to see the reasons.")


def _watch(indexer: CodeIndexer, folder: Path, paths: tuple[Path, ...], *, as_json: bool) -> None:
    # Imported lazily, because only --watch needs it.
    from watchfiles import watch

    roots = paths or CodeIndex(folder, embedder=load_embedder).roots()
    own = Path(os.path.realpath(folder))
    echo_err(f"Watching {', '.join(map(str, roots))}. Ctrl-C stops.")
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
def search(query: str, options: HitOptions) -> int:
    """Find code that matches a description in plain words. The exit status is 1 if there are no hits."""
    check_languages(options.langs)
    hits = open_index(options.index).search(
        query, n=options.number, langs=options.langs, paths=options.paths, kinds=options.kinds
    )
    return _print_hits(hits, query, options.lines, as_json=options.as_json, about={"query": query})


@command.command(epilog="Example:  umekomi code similar src/app.py:120")
@click.argument("location", metavar="FILE:LINE")
@hit_options
def similar(location: str, options: HitOptions) -> int:
    """Find code that is similar to the function, class or section at a line of an indexed file."""
    file, separator, line = location.rpartition(":")
    if not separator or not line.isdecimal() or not file:
        raise InputError(f"{location} is not a line of a file. Write it like src/app.py:120.")
    check_languages(options.langs)
    hits = open_index(options.index).similar(
        Path(file), int(line), n=options.number, langs=options.langs, paths=options.paths, kinds=options.kinds
    )
    return _print_hits(hits, "", options.lines, as_json=options.as_json, about={"location": location})


@command.command(epilog="Example:  umekomi code duplicates --at-least 0.9 --path src/")
@click.option(
    "--at-least",
    type=float,
    default=MIN_SIMILARITY,
    show_default=True,
    help="Minimum share of words that near-duplicates have in common.",
)
@integer_option("--min-lines", minimum=1, default=5, help="Minimum length of a function.")
@path_option
@lang_option
@json_option
@index_option
def duplicates(
    at_least: float, min_lines: int, langs: tuple[str, ...], paths: tuple[str, ...], as_json: bool, index: Path | None
) -> int:
    """List groups of near-duplicate functions. The exit status is 1 if there are none."""
    check_languages(langs)
    groups = open_index(index).duplicates(alike=at_least, min_lines=min_lines, langs=langs, paths=paths)
    if as_json:
        print_json({"groups": [asdict(group) for group in groups]})
    for number, group in enumerate([] if as_json else groups, start=1):
        echo(f"{number}. {len(group.chunks)} near-duplicates with {group.alike:.0%} of their words in common")
        for chunk in group.chunks:
            echo(f"   {_location(chunk)}  {chunk.name}")
    if not groups:
        echo_err("No near-duplicate functions.")
    return 0 if groups else NO_HITS


@command.command(epilog="Example:  umekomi code info")
@json_option
@index_option
def info(as_json: bool, index: Path | None) -> None:
    """Show the folders, languages, chunks and model of the index."""
    print_facts(open_index(index).info(), as_json=as_json)


@command.command(epilog="Example:  claude mcp add code -- umekomi code mcp --index /my/repository/.umekomi")
@click.option("--update", is_flag=True, help="Update the index before each response.")
@index_option
def mcp(update: bool, index: Path | None) -> None:
    """Serve editors and assistants over the Model Context Protocol on standard input and output.

    Tools: search_code, similar_code, duplicate_code, code_index_info. The index must exist.
    """
    # Imported lazily, because only this command needs the package.
    from .code_mcp import serve

    serve(index or find_index_folder(Path.cwd()), update=update, embedder=load_embedder)


def open_index(folder: Path | None) -> CodeIndex:
    """Open an index for reading. The model is loaded with the first query."""
    return CodeIndex(folder or find_index_folder(Path.cwd()), embedder=load_embedder)


def check_languages(langs: tuple[str, ...]) -> None:
    """Raise InputError for an unknown language."""
    for lang in langs:
        if lang not in LANGUAGE_NAMES:
            raise InputError(f"Unknown language {lang!r}. Choose from {', '.join(LANGUAGE_NAMES)}.")


def _print_hits(hits: list[CodeHit], query: str, lines: int, *, as_json: bool, about: dict[str, str]) -> int:
    if as_json:
        print_json({**about, "hits": [asdict(hit) for hit in hits]})
    for index, hit in enumerate([] if as_json else hits):
        if index and lines:
            echo()
        head = style(_location(hit), fg="magenta")
        label = hit.name if hit.kind in ("section", "window", "module") else hit.signature
        score = style(f"{hit.score:.3f}", fg="green")
        cell = f"cell {hit.cell}  " if hit.cell else ""
        echo(Markup(f"{head}  {score}  {escape(hit.kind)}  {cell}{escape(label or hit.signature)}"))
        for number, line in enumerate(hit.source.split("\n")[:lines], start=hit.start):
            echo(Markup(f"{style(f'{number:>6}', dim=True)}  {highlight(line, query)}"))
    if not hits:
        echo_err("No hits.")
    return 0 if hits else NO_HITS


def _location(hit: CodeHit) -> str:
    """Return ``path:line``, which editors and terminals can open, relative to the current folder if possible."""
    try:
        path = Path(hit.file).relative_to(Path.cwd())
    except ValueError:
        path = Path(hit.file)
    return f"{path}:{hit.start}"


def highlight(line: str, query: str) -> Markup:
    """Return a line with visible escapes and the words of the query in bold, or unchanged if the output is not a terminal."""
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
