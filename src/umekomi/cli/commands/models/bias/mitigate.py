"""``umekomi bias mitigate``."""

from __future__ import annotations

from dataclasses import asdict

import click

from .....bias.mitigation import MitigationResult, measure_mitigation
from .....bias.seat import choose_tests, count_texts
from .....encoders.model_ids import require_model
from .....errors import InputError
from .....evaluation.datasets import load_pairs, load_retrieval
from .....vectors.directions import SEPARATOR
from .....vectors.matrices import base_model
from ....options import json_option, load_embedder, model_option, split_names, tests_option
from ....output import echo_err, print_json, print_table, progress_bar
from .reports import NO_SCORE, is_available


@click.command("mitigate", epilog="Example:  umekomi bias mitigate --without gender --tests weat1,weat6,weat7,weat8")
@model_option
@click.option(
    "--without",
    default="gender",
    show_default=True,
    metavar="gender|PAIRS.tsv",
    help="Direction to project out: a known one, or one from a file of word pairs.",
)
@tests_option
@click.option("--sts", metavar="DATA", help="Data set of pairs. Default: stsb, if it is on this machine.")
@click.option("--retrieval", metavar="DATA", help="Retrieval data set. Default: cranfield, if it is on this machine.")
@json_option
def mitigate(
    model: str, without: str, tests: str | None, sts: str | None, retrieval: str | None, as_json: bool
) -> None:
    """Measure associations, similarity and retrieval before and after projecting out a direction.

    This removes what lies along one direction. Most of an association remains in other directions (Gonen & Goldberg 2019).
    """
    base = base_model(model)
    if model != base:
        raise InputError(f"{model} has {model.removeprefix(base)} already. Measure {base}.")
    require_model(f"{model}{SEPARATOR}{without}")
    selected = choose_tests(split_names(tests))
    sts = sts or ("stsb" if is_available("stsb") else None)
    retrieval = retrieval or ("cranfield" if is_available("cranfield") else None)
    pairs = load_pairs(sts) if sts else None
    documents = load_retrieval(retrieval) if retrieval else None
    n_texts = count_texts(selected)
    n_texts += len({*pairs.left, *pairs.right}) if pairs else 0
    n_texts += len(documents.documents) + len(documents.queries) if documents else 0
    with progress_bar(model, 2 * n_texts) as advance:
        mitigation = measure_mitigation(
            model, without, selected, pairs=pairs, retrieval=documents, load=load_embedder, progress=advance
        )
    if as_json:
        print_json(asdict(mitigation))
        return
    before, after = _rows(mitigation.before), _rows(mitigation.after)
    print_table(
        ["measure", mitigation.before.model, mitigation.after.model],
        [[measure, value, after[measure]] for measure, value in before.items()],
    )
    echo_err(f"\nAn asterisk means p < 0.05 after Holm's correction. {NO_SCORE}")


def _rows(result: MitigationResult) -> dict[str, str]:
    rows = {
        f"{effect.test}: {effect.title}": f"{effect.size:+.2f}{'*' if effect.significant else ''}"
        for effect in result.effects
    }
    if result.sts:
        rows[f"{result.sts.data}, Spearman"] = f"{result.sts.spearman:.3f}"
    if result.retrieval:
        rows[f"{result.retrieval.data}, nDCG@10"] = f"{result.retrieval.ndcg_at_10:.3f}"
    return rows
