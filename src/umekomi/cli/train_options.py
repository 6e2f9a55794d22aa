"""What `umekomi classify` and `umekomi regress` share: their options, what these may not be together, and applying a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import numpy.typing as npt

from ..data.table import EmbeddedTable
from ..errors import InputError
from ..evaluation.duplicates import group_copies, merge_groups
from ..evaluation.splits import split_groups
from ..tasks.choices import Learner, Split
from ..tasks.predictor import load_predictor
from ..vectors.arithmetic import IntArray
from .options import TABLE_SUFFIXES, embedded_argument, json_option, output_option, seed_option, write_rows
from .output import echo, print_json, shorten

Command = TypeVar("Command", bound=Callable[..., Any])


def learning_options(command: Command) -> Command:
    """The argument EMBEDDED and the options of a command that learns a column."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    embedded_argument,
    click.option("--label", help="The column to learn."),
    click.option(
        "--learner",
        type=click.Choice([learner.value for learner in Learner]),
        default="default",
        show_default=True,
        help="The default, or the guide's random forest.",
    ),
    click.option(
        "--test-share", default=0.2, show_default=True, help="How large a share of the rows is kept for measuring."
    ),
    click.option(
        "--split",
        type=click.Choice([split.value for split in Split]),
        default="text",
        show_default=True,
        help="text: copies of a text stay on one side. rows: the guide's split, a plain random draw.",
    ),
    click.option("--group", "group_column", help="A column, as the user's: its equal values stay on one side as well."),
    seed_option,
    output_option(
        "--save",
        help="Train on all rows as well, and write the model here.",
    ),
    click.option(
        "--apply", "apply_", type=click.Path(path_type=Path, dir_okay=False), help="Predict with a saved model instead."
    ),
    output_option(
        "-o",
        "--output",
        suffixes=TABLE_SUFFIXES,
        help="With --apply: a .parquet, .csv or .jsonl file.",
    ),
    json_option,
)


def require_label(table: EmbeddedTable, label: str | None, learner: str, save: Path | None) -> str:
    """The column to learn.

    Raises:
        InputError: there is none, or what is learnt cannot be saved.
    """
    if not label:
        raise InputError(
            f"Say which column to learn: --label NAME. The columns are {', '.join(table.records.column_names)}."
        )
    if save and learner == Learner.FOREST:
        raise InputError("A random forest cannot be saved without code in the file; save the default learner.")
    return label


@dataclass(frozen=True, slots=True)
class Division:
    """Rows to learn from and rows to measure on, as positions.

    ``groups`` is ``(n,)``: copies, and rows of one value of ``--group``, share a number. ``copied`` is ``(tests,) bool``: which
    test rows have a training row of their group.
    """

    train: IntArray
    test: IntArray
    groups: IntArray
    copied: npt.NDArray[np.bool_]

    def describe(self) -> str:
        """One line about the split, for the head of a report."""
        groups = self.groups[self.test]
        line = f"{len(self.train):,} rows to learn from, {len(self.test):,} to measure on"
        if self.copied.any():
            return f"{line}, {int(self.copied.sum()):,} of them copies of rows that were learned from; 95 % intervals"
        return f"{line} ({len(np.unique(groups)):,} different, none was learned from); 95 % intervals"

    @property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """Which test rows are no copies."""
        return ~self.copied


def divide(
    table: EmbeddedTable,
    strata: npt.ArrayLike,
    *,
    split: Split | str,
    group_column: str | None,
    test_share: float,
    seed: int,
) -> Division:
    """Split the rows of a table; ``strata`` is the class of each row, of which every one gives its share.

    Raises:
        InputError: one side would be empty.
        RecordError: there is no column ``group_column``.
    """
    texts = table.texts() if "text" in table.records.column_names else None
    groups = group_copies(table.vectors, texts)
    if group_column is not None:
        groups = merge_groups(groups.tolist(), table.column(group_column))
    if Split(split) is Split.TEXT:
        train, test = split_groups(groups, strata=strata, test_share=test_share, seed=seed)
    else:
        # Here, because it loads scikit-learn, and --help must not wait for it.
        from ..tasks.classify import split_rows

        train, test = split_rows(len(table), test_share=test_share, seed=seed)
    return Division(train, test, groups, np.isin(groups[test], groups[train]))


def apply_model(
    table: EmbeddedTable,
    path: Path,
    output: Path | None,
    as_json: bool,
    *,
    classify: bool,
    label: str | None,
    save: Path | None,
) -> None:
    """Predict every row with a saved model: to a file, or a line a row."""
    if label or save:
        raise InputError("--apply predicts with a saved model; --label and --save train one. Give one or the other.")
    model = load_predictor(path)
    if model.is_classifier is not classify:
        raise InputError(
            f"{path} predicts numbers; use `umekomi regress`."
            if classify
            else f"{path} predicts classes; use `umekomi classify`."
        )
    model.require_space(table.space)
    predictions = model.predict(table.vectors)
    added: dict[str, list[object]] = {f"predicted_{model.column}": list(predictions)}
    if classify:
        places = {name: place for place, name in enumerate(model.labels)}
        shares = model.probabilities(table.vectors)
        added["probability"] = [float(shares[row, places[label]]) for row, label in enumerate(predictions)]
    if output:
        write_rows(table, added, output)
        return
    texts = table.texts()
    for row, text in enumerate(texts):
        values = {name: column[row] for name, column in added.items()}
        if as_json:
            print_json({**values, "text": text})
        else:
            cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in values.values()]
            echo("\t".join([*cells, shorten(text, 100)]))
