"""``umekomi evaluate``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from ....catalog import NOT_OPENAI
from ....evaluation import code_search, retrieval
from ....evaluation.bm25 import bm25_run
from ....evaluation.datasets import RetrievalDataset, load_labeled, load_pairs, load_retrieval
from ....evaluation.metrics import Estimate
from ....evaluation.retrieval import RoleMode, SearchModels, load_search_models
from ....evaluation.translations import compare_translations, read_translations
from ....evaluation.translations import evaluate_translations as measure_translations
from ....extras import import_optional
from ...options import (
    create_models_option,
    json_option,
    load_embedder,
    measure_models,
    models_option,
    split_names,
    template_option,
)
from ...output import echo, echo_err, print_json, print_table

BASELINE = "bm25"


@click.group(
    "evaluate",
    epilog="Example:  umekomi evaluate sts pairs.csv --columns first,second,score -m text-embedding-ada-002 -m all-MiniLM-L6-v2",
)
def command() -> None:
    """Evaluate models on your own data or on public data sets (`umekomi data list`).

    Brackets contain 95 % intervals. If several models are given, each is compared with the first on the same queries, pairs or
    texts, and the intervals of the differences hold simultaneously (Bonferroni).
    """


@command.command(
    "retrieval",
    epilog="Example:  umekomi evaluate retrieval beir/scifact -m text-embedding-ada-002 -m text-search-davinci-doc-001",
)
@click.argument("source", metavar="DATA")
@create_models_option(BASELINE)
@click.option("--split", default="test", show_default=True, help="Split of the relevance judgments.")
@click.option("--alike", is_flag=True, help="Embed queries and documents without a role, as over an API without roles.")
@click.option(
    "--shared-ids",
    is_flag=True,
    help="Queries have the IDs of the documents that they were taken from, as in ArguAna and Quora of BEIR. These documents are "
    "excluded from the results.",
)
@json_option
def evaluate_retrieval(
    source: str, models: tuple[str, ...], split: str, alike: bool, shared_ids: bool, as_json: bool
) -> None:
    """Measure nDCG@10, MAP and recall@100 of retrieval.

    DATA is a folder in the layout of BEIR, or a public data set such as cranfield. The query and document models of a pair are
    measured together. The model bm25 is a baseline that compares words.
    """
    data = load_retrieval(source, split=split)
    if shared_ids:
        data = replace(data, shared_ids=True)
    _report_equal_ids(data)
    roles = RoleMode.ALIKE if alike else RoleMode.ROLES

    def baseline() -> retrieval.RetrievalResult:
        began = time.monotonic()
        run = bm25_run(data, k=retrieval.DEPTH)
        return retrieval.score_run(data, run, model=BASELINE, seconds=time.monotonic() - began)

    results = list(
        measure_models(
            models,
            len(data.documents) + len(data.queries),
            lambda search, advance: retrieval.evaluate_retrieval(data, search, roles=roles, progress=advance),
            load=_load_search_models,
            baselines={BASELINE: baseline},
        )
    )
    _print_comparison(
        f"{data.name}: {len(data.documents):,} documents, {len(data.queries):,} queries",
        results,
        retrieval.compare_retrieval(results),
        {"ndcg_at_10": "nDCG@10", "map": "MAP", "recall_at_100": "recall@100"},
        as_json=as_json,
        extra={"texts/s": [f"{(result.documents + result.queries) / result.seconds:,.0f}" for result in results]},
    )


@command.command("sts", epilog="Example:  umekomi evaluate sts pairs.tsv --columns first,second,score")
@click.argument("source", metavar="DATA")
@models_option
@click.option("--split", help="Split of a public data set, such as train.")
@click.option("--columns", metavar="NAMES", help="Columns of the two texts and the score, such as first,second,score.")
@json_option
def evaluate_sts(source: str, models: tuple[str, ...], split: str | None, columns: str | None, as_json: bool) -> None:
    """Measure the correlation of cosine similarities with human scores of pairs of texts.

    DATA is a CSV, TSV, JSON Lines or Parquet file with the columns sentence1, sentence2 and score (or label), or a public data
    set such as stsb or jsts. The correlations are Spearman's and Pearson's.
    """
    data = load_pairs(source, split=split, columns=_parse_columns(columns))
    results = list(
        measure_models(
            models,
            len({*data.left, *data.right}),
            lambda embedder, advance: retrieval.evaluate_sts(data, embedder, progress=advance),
        )
    )
    _print_comparison(
        f"{data.name}: {len(data.scores):,} pairs",
        results,
        retrieval.compare_sts(data, results),
        {"spearman": "Spearman", "pearson": "Pearson"},
        as_json=as_json,
    )


@command.command(
    "classification",
    epilog="Example:  umekomi evaluate classification reviews.csv -t 'Title: {Summary}; Content: {Text}' --label Score",
)
@click.argument("source", metavar="DATA")
@models_option
@template_option
@click.option("--label", metavar="COLUMN", help="Column of the labels. Default: label.")
@click.option(
    "--test",
    "test_source",
    metavar="DATA",
    help="Texts to predict, with the same columns. Default: five folds of DATA.",
)
@json_option
def evaluate_classification(
    source: str,
    models: tuple[str, ...],
    template: str | None,
    label: str | None,
    test_source: str | None,
    as_json: bool,
) -> None:
    """Measure the accuracy and macro F1 of a logistic regression on the vectors.

    DATA is a file of records, or a public data set such as ag-news or fine-food-reviews. Copies of a text (equal except for case
    and white space, or with the same vector) are always in the same fold.
    """
    data = load_labeled(source, template=template, label=label)
    test = load_labeled(test_source, template=template, label=label) if test_source else None
    task = import_optional("umekomi.evaluation.classification")
    results = list(
        measure_models(
            models,
            len(data.texts) + (len(test.texts) if test else 0),
            lambda embedder, advance: task.evaluate_classification(data, embedder, test=test, progress=advance),
        )
    )
    first = results[0]
    remarks = []
    for result in results:
        if result.copies:
            without = result.accuracy_without_copies
            others = f"The accuracy on the other texts is {without:.3f}." if without else "There are no other texts."
            remarks.append(f"{result.model}: {result.copies:,} texts are copies of texts in {source}. {others}")
    _print_comparison(
        f"{first.data}: {first.texts:,} texts ({first.distinct:,} distinct), {first.labels} labels; "
        f"always the most frequent label: accuracy {first.majority:.3f}",
        results,
        task.compare_classification(results),
        {"accuracy": "accuracy", "macro_f1": "macro F1"},
        as_json=as_json,
        remarks=remarks,
    )


@command.command("translations", epilog="Example:  umekomi evaluate translations jpn-eng.jpn jpn-eng.eng")
@click.argument("sentences", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("translations", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@models_option
@json_option
def evaluate_translations(sentences: Path, translations: Path, models: tuple[str, ...], as_json: bool) -> None:
    """Measure how often a sentence and its translation find each other in a collection of two languages.

    SENTENCES and TRANSLATIONS are text files. Each line of one is the translation of the same line of the other. "mixed" is
    how often the translation of a line is the nearest of all other lines of both files; "across" is how often it is the nearest
    of the lines of the other file.
    """
    data = read_translations(sentences, translations)
    results = list(
        measure_models(
            models,
            2 * len(data.sentences),
            lambda embedder, advance: measure_translations(data, embedder, progress=advance),
        )
    )
    _print_comparison(
        f"{data.name}: {len(data.sentences):,} pairs",
        results,
        compare_translations(results),
        {"mixed": "mixed", "across": "across"},
        as_json=as_json,
    )


@command.command("code", epilog="Example:  umekomi evaluate code click -m text-embedding-ada-002 -m bm25")
@click.argument("source", metavar="PACKAGE|FOLDER")
@create_models_option(BASELINE)
@click.option("--limit", type=click.IntRange(min=2), help="Maximum number of functions, which are sampled with seed 0.")
@json_option
def evaluate_code(source: str, models: tuple[str, ...], limit: int | None, as_json: bool) -> None:
    """Measure how well Python functions are found by their docstrings, which are removed from the code.

    PACKAGE is an installed Python package, which is read but not imported. The model bm25 is a baseline that compares words.
    """
    data = code_search.load_code(source, limit=limit)
    results = list(
        measure_models(
            models,
            len(data.documents) + len(data.queries),
            lambda search, advance: code_search.evaluate_code(data, search, progress=advance),
            load=_load_search_models,
            baselines={
                BASELINE: lambda: code_search.score_code(data, bm25_run(data, k=code_search.DEPTH), model=BASELINE)
            },
        )
    )
    _print_comparison(
        f"{data.name}: {len(data.documents):,} functions, {len(data.queries):,} docstrings",
        results,
        code_search.compare_code(results),
        {"mrr": "MRR", "recall_at_1": "recall@1", "recall_at_10": "recall@10"},
        as_json=as_json,
    )


def _load_search_models(model: str) -> SearchModels:
    return load_search_models(model, load_embedder)


def _parse_columns(text: str | None) -> tuple[str, str, str] | None:
    if text is None:
        return None
    names = split_names(text)
    if len(names) != 3:
        raise click.BadParameter("Give three names with commas, such as first,second,score.", param_hint="--columns")
    return names[0], names[1], names[2]


def _print_comparison(
    title: str,
    results: Sequence[Any],
    differences: Sequence[Mapping[str, Estimate]],
    metrics: Mapping[str, str],
    *,
    as_json: bool,
    extra: Mapping[str, Sequence[str]] | None = None,
    remarks: Sequence[str] = (),
) -> None:
    """Print the results of models, and their differences to the first one.

    Args:
        title: First line.
        results: Result of each model.
        differences: Differences of each model after the first, by field.
        metrics: Heading of each field of the results.
        as_json: Print JSON, with all fields.
        extra: Further columns of the table.
        remarks: Lines to print below the table.
    """
    for result in results:
        if result.cut:
            echo_err(f"{result.cut:,} texts were truncated to the maximum length of {result.model}.")
    if as_json:
        rows = [asdict(result) for result in results]
        for row, difference in zip(rows[1:], differences, strict=True):
            row["difference"] = {name: asdict(value) for name, value in difference.items()}
        print_json(rows)
        return
    echo(f"{title}\n")
    extra = extra or {}
    print_table(
        ["model", *metrics.values(), *extra],
        [
            [
                result.model,
                *(f"{getattr(result, name):.3f}" for name in metrics),
                *(cells[index] for cells in extra.values()),
            ]
            for index, result in enumerate(results)
        ],
    )
    echo_err(f"\nBrackets contain 95 % intervals. {NOT_OPENAI}")
    for remark in remarks:
        echo(remark)
    if not differences:
        return
    echo(f"\nDifference to {results[0].model}")
    print_table(
        ["model", *(metrics[name] for name in differences[0])],
        [
            [result.model, *(f"{value:+.3f}" for value in difference.values())]
            for result, difference in zip(results[1:], differences, strict=True)
        ],
    )
    simultaneous = (
        f" The intervals of all {len(differences)} models hold simultaneously (Bonferroni)." if differences[1:] else ""
    )
    echo_err(f"\nIf an interval contains 0, chance may explain the difference.{simultaneous}")


def _report_equal_ids(data: RetrievalDataset) -> None:
    """Report queries that have the ID of a document, because there are two conventions for them."""
    equal = [query for query in data.queries if query in data.documents]
    same = sum(data.queries[query].split() == data.documents[query].split() for query in equal)
    if equal and data.shared_ids:
        echo_err(f"{len(equal):,} queries have the ID of a document, which is excluded from their results.")
    elif same:
        echo_err(
            f"{same:,} queries have the ID and the text of a document, which counts as a result. To exclude it, use "
            '--shared-ids or write {"shared_ids": true} to dataset.json in the folder.'
        )
