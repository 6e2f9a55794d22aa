"""``umekomi evaluate``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import click

from ...catalog import DEFAULT_MODEL, NOT_OPENAI
from ...embedder import Embedder
from ...evaluation import code_search as evaluate_code
from ...evaluation import retrieval as evaluate
from ...evaluation.bm25 import bm25_run
from ...evaluation.datasets import RetrievalDataset, load_labeled, load_pairs, load_retrieval
from ...evaluation.metrics import Estimate
from ...extras import import_optional
from ..output import TransferBar, echo, echo_err, print_json, print_table, progress_bar

BASELINE = "bm25"

models_option = click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    default=[DEFAULT_MODEL],
    show_default=True,
    help="A model; give it again to compare several.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="All figures as JSON.")


@click.group(
    "evaluate",
    epilog="Example:  umekomi evaluate sts pairs.csv --columns first,second,score -m text-embedding-ada-002 -m all-MiniLM-L6-v2",
)
def command() -> None:
    """Measure models on your own data or on known sets (`umekomi data list`).

    Every figure has its 95 % interval in brackets. With several models, each is compared with the first on the same queries,
    pairs or texts; the intervals of these differences hold together (Bonferroni).
    """


@command.command(
    epilog="Example:  umekomi evaluate retrieval beir/scifact -m text-embedding-ada-002 -m text-search-davinci-doc-001"
)
@click.argument("data")
@models_option
@click.option("--split", default="test", show_default=True, help="Which file of qrels.")
@click.option("--alike", is_flag=True, help="Embed queries and documents alike, as an API that knows no roles does.")
@click.option(
    "--shared-ids",
    is_flag=True,
    help="A query's id is that of the document it was taken from (as in BEIR's ArguAna and Quora), which is then no answer.",
)
@json_option
def retrieval(data: str, models: tuple[str, ...], split: str, alike: bool, shared_ids: bool, as_json: bool) -> None:
    """nDCG@10, MAP and recall@100 on a folder in BEIR's layout, or on a known set as cranfield.

    A model of a pair is measured with its other half: queries by the one, documents by the other. -m bm25 is the baseline of
    words.
    """
    found = load_retrieval(data, split=split)
    if shared_ids:
        found = replace(found, shared_ids=True)
    _note_equal_ids(found)
    roles = evaluate.RoleMode.ALIKE if alike else evaluate.RoleMode.ROLES
    results = []
    for model in models:
        if model == BASELINE:
            began = time.monotonic()
            run = bm25_run(found, k=evaluate.DEPTH)
            results.append(evaluate.score_run(found, run, model=model, seconds=time.monotonic() - began))
            continue
        pair = evaluate.load_search_models(model, load)
        with progress_bar(model, len(found.documents) + len(found.queries)) as advance:
            results.append(evaluate.evaluate_retrieval(found, pair, roles=roles, progress=advance))
        _tell_cut(model, results[-1].cut)
    differences = evaluate.compare_retrieval(results)
    if as_json:
        print_json(with_differences(results, differences))
        return
    echo(f"{found.name}: {len(found.documents):,} documents, {len(found.queries):,} queries\n")
    rows = [
        [
            result.model,
            interval(result.ndcg_at_10),
            interval(result.map),
            interval(result.recall_at_100),
            f"{(result.documents + result.queries) / result.seconds:,.0f}",
        ]
        for result in results
    ]
    print_results(["model", "nDCG@10", "MAP", "recall@100", "texts/s"], rows)
    print_differences([result.model for result in results], differences, {"ndcg_at_10": "nDCG@10", "map": "MAP"})


@command.command(epilog="Example:  umekomi evaluate sts pairs.tsv --columns first,second,score")
@click.argument("data")
@models_option
@click.option("--split", help="Of a known set, as train.")
@click.option("--columns", help="The two texts and the score, as first,second,score.")
@json_option
def sts(data: str, models: tuple[str, ...], split: str | None, columns: str | None, as_json: bool) -> None:
    """Spearman's and Pearson's correlation with people's scores of pairs.

    DATA is a CSV, TSV, JSON Lines or Parquet file with the columns sentence1, sentence2 and score (or label), or a known
    set as stsb or jsts.
    """
    found = load_pairs(data, split=split, columns=_three(columns))
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, len({*found.left, *found.right})) as advance:
            results.append(evaluate.evaluate_sts(found, embedder, progress=advance))
        _tell_cut(model, results[-1].cut)
    differences = evaluate.compare_sts(found, results)
    if as_json:
        print_json(with_differences(results, differences))
        return
    echo(f"{found.name}: {len(found.scores):,} pairs\n")
    rows = [[result.model, interval(result.spearman), interval(result.pearson)] for result in results]
    print_results(["model", "Spearman", "Pearson"], rows)
    print_differences([result.model for result in results], differences, {"spearman": "Spearman", "pearson": "Pearson"})


@command.command(
    epilog="Example:  umekomi evaluate classification reviews.csv -t 'Title: {Summary}; Content: {Text}' --label Score"
)
@click.argument("data")
@models_option
@click.option("-t", "--template", help="What to embed, as '{title} {description}'; by default the column 'text'.")
@click.option("--label", help="The column of the labels; by default 'label'.")
@click.option(
    "--test", "test_file", help="Other texts to predict, with the same columns; by default five folds of DATA."
)
@json_option
def classification(
    data: str, models: tuple[str, ...], template: str | None, label: str | None, test_file: str | None, as_json: bool
) -> None:
    """Accuracy and macro F1 of a logistic regression on the vectors.

    Copies of a text (equal but for case and white space, or with the same vector) are never both learned from and predicted.

    DATA is a file of records, or a known set as ag-news or fine-food-reviews.
    """
    found = load_labeled(data, template=template, label=label)
    test = load_labeled(test_file, template=template, label=label) if test_file else None
    task = load_task("umekomi.evaluation.classification")
    results = []
    for model in models:
        embedder = load(model)
        with progress_bar(model, len(found.texts) + (len(test.texts) if test else 0)) as advance:
            results.append(task.evaluate_classification(found, embedder, test=test, progress=advance))
        _tell_cut(model, results[-1].cut)
    differences = task.compare_classification(results)
    if as_json:
        print_json(with_differences(results, differences))
        return
    one = results[0]
    echo(
        f"{one.data}: {one.texts:,} texts ({one.distinct:,} different), {one.labels} labels; "
        f"always the most frequent label: accuracy {one.majority:.3f}\n"
    )
    rows = [[result.model, interval(result.accuracy), interval(result.macro_f1)] for result in results]
    print_results(["model", "accuracy", "macro F1"], rows)
    for result in results:
        if result.copies:
            without = result.accuracy_without_copies
            rest = f"without them the accuracy is {interval(without)}" if without else "there are no others"
            echo(f"{result.model}: {result.copies:,} of the texts are copies of texts in {data}; {rest}.")
    print_differences(
        [result.model for result in results], differences, {"accuracy": "accuracy", "macro_f1": "macro F1"}
    )


@command.command(epilog="Example:  umekomi evaluate code click -m text-embedding-ada-002 -m bm25")
@click.argument("source", metavar="PACKAGE|FOLDER")
@models_option
@click.option("--limit", type=click.IntRange(min=2), help="No more functions than this, drawn at random (seed 0).")
@json_option
def code(source: str, models: tuple[str, ...], limit: int | None, as_json: bool) -> None:
    """Find Python functions by their docstrings, which are taken out of the code first.

    PACKAGE is an installed Python package, which is read and not run. -m bm25 is the baseline of words.
    """
    found = evaluate_code.load_code(source, limit=limit)
    results = []
    for model in models:
        if model == BASELINE:
            run = bm25_run(found, k=evaluate_code.DEPTH)
            results.append(evaluate_code.score_code(found, run, model=model))
            continue
        pair = evaluate.load_search_models(model, load)
        with progress_bar(model, len(found.documents) + len(found.queries)) as advance:
            results.append(evaluate_code.evaluate_code(found, pair, progress=advance))
        _tell_cut(model, results[-1].cut)
    differences = evaluate_code.compare_code(results)
    if as_json:
        print_json(with_differences(results, differences))
        return
    echo(f"{found.name}: {len(found.documents):,} functions, {len(found.queries):,} docstrings\n")
    rows = [
        [result.model, interval(result.mrr), interval(result.recall_at_1), interval(result.recall_at_10)]
        for result in results
    ]
    print_results(["model", "MRR", "recall@1", "recall@10"], rows)
    print_differences([result.model for result in results], differences, {"mrr": "MRR"})


def load_task(module: str) -> Any:
    """A task that needs the extra `tasks`, loaded when it is asked for."""
    return import_optional(module)


def _three(columns: str | None) -> tuple[str, str, str] | None:
    if columns is None:
        return None
    names = [name.strip() for name in columns.split(",")]
    if len(names) != 3:
        raise click.BadParameter("give three names with commas, as first,second,score", param_hint="--columns")
    return names[0], names[1], names[2]


def _tell_cut(model: str, cut: int) -> None:
    if cut:
        echo_err(f"{cut:,} texts were longer than {model} takes; their ends were cut.")


def load(model: str) -> Embedder:
    """A model, with what is fetched shown."""
    return Embedder(model, report=echo_err, transfer=TransferBar())


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A figure with its interval, as ``0.415 [0.380, 0.450]``."""
    style = "+.3f" if signed else ".3f"
    return f"{estimate.value:{style}} [{estimate.low:{style}}, {estimate.high:{style}}]"


def print_results(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of models, and the reminder that their vectors are not OpenAI's."""
    print_table(header, rows)
    echo_err(f"\nBrackets hold 95 % intervals. {NOT_OPENAI}")


def print_differences(
    models: Sequence[str], differences: Sequence[Mapping[str, Estimate]], names: Mapping[str, str]
) -> None:
    """A table of how much better each model after the first is than the first; nothing for a single model."""
    if not differences:
        return
    echo(f"\nDifference to {models[0]}")
    rows = [
        [model, *(interval(one[key], signed=True) for key in names)]
        for model, one in zip(models[1:], differences, strict=True)
    ]
    print_table(["model", *names.values()], rows)
    together = (
        "" if len(differences) == 1 else f" The intervals of all {len(differences)} models hold together (Bonferroni)."
    )
    echo_err(f"\nWhere an interval contains 0, chance may explain the difference.{together}")


def with_differences(results: Sequence[Any], differences: Sequence[Mapping[str, Estimate]]) -> list[dict[str, Any]]:
    """Results as JSON; those after the first with their differences to the first."""
    found = [asdict(result) for result in results]
    for facts, one in zip(found[1:], differences, strict=True):
        facts["difference"] = {name: asdict(value) for name, value in one.items()}
    return found


def _note_equal_ids(data: RetrievalDataset) -> None:
    """Say how many queries have the id of a document, because two conventions exist."""
    equal = [query for query in data.queries if query in data.documents]
    if not equal:
        return
    same = sum(data.queries[query].split() == data.documents[query].split() for query in equal)
    if data.shared_ids:
        echo_err(f"{len(equal):,} queries have the id of a document; it is no answer to them.")
    elif same:
        echo_err(
            f"{same:,} queries are the text of the document with their id, and count it as an answer. If it is none, say "
            '--shared-ids or write {"shared_ids": true} to dataset.json in the folder.'
        )
