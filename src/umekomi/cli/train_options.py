"""Common parts of `umekomi classify` and `umekomi regress`: options, splitting, training and applying a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import click
import numpy as np
import numpy.typing as npt

from ..data.embedded_file import list_columns, require_columns
from ..data.table import EmbeddedTable
from ..errors import InputError
from ..evaluation.duplicates import group_copies, merge_groups
from ..evaluation.splits import split_groups
from ..tasks.choices import Learner, Split
from ..tasks.predictor import load_predictor
from ..vectors.arithmetic import IntArray
from .options import (
    FILE,
    choice,
    embedded_argument,
    json_option,
    option_group,
    output_option,
    seed_option,
    table_output_option,
    write_rows,
)
from .output import echo, echo_err, print_json, shorten
from .status_line import status_line

Report = TypeVar("Report")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Options of a command that trains a model; see the help texts below."""

    embedded: Path
    label: str | None
    learner: str
    test_share: float
    split: str
    group_column: str | None
    seed: int
    save: Path | None
    apply_: Path | None
    output: Path | None
    as_json: bool


train_options = option_group(
    TrainOptions,
    embedded_argument,
    click.option("--label", metavar="COLUMN", help="Column to predict."),
    click.option(
        "--learner",
        type=choice(Learner),
        default="default",
        show_default=True,
        help="Learning algorithm: the default, or the random forest of OpenAI's guide.",
    ),
    click.option("--test-share", default=0.2, show_default=True, help="Share of the rows to test on."),
    click.option(
        "--split",
        type=choice(Split),
        default="text",
        show_default=True,
        help="text: keep copies of a text on the same side. rows: draw rows at random, as in OpenAI's guide.",
    ),
    click.option(
        "--group", "group_column", metavar="COLUMN", help="Also keep equal values of this column on the same side."
    ),
    seed_option,
    output_option("--save", help="Train on all rows as well, and save the model to this file."),
    click.option("--apply", "apply_", type=FILE, help="Predict with a saved model instead of training one."),
    table_output_option,
    json_option,
)


@dataclass(frozen=True, slots=True)
class RowSplit:
    """Rows to train on and rows to test on."""

    #: Indices of the training rows.
    train: IntArray
    #: Indices of the test rows.
    test: IntArray
    #: Group of each row, shape ``(n,)``. Copies, and rows with the same value of ``--group``, share a group.
    groups: IntArray
    #: Whether a training row is in the group of each test row, shape ``(n_test,)``.
    copied: npt.NDArray[np.bool_]

    def describe(self) -> str:
        """Return a summary of the split in one line."""
        line = f"{len(self.train):,} training rows, {len(self.test):,} test rows"
        if self.copied.any():
            return f"{line}, {int(self.copied.sum()):,} of them copies of training rows; 95 % intervals"
        return (
            f"{line} ({len(np.unique(self.groups[self.test])):,} distinct, none in the training rows); 95 % intervals"
        )


@dataclass(frozen=True, slots=True)
class TrainResult(Generic[Report]):
    """Evaluation of a model on the test rows."""

    split: RowSplit
    report: Report
    #: Report on the test rows that are not copies of training rows. None if no or all test rows are copies.
    without_copies: Report | None

    def print_json(self, table: EmbeddedTable, options: TrainOptions) -> None:
        """Print the result as JSON."""
        print_json(
            {
                "model": table.space.model,
                "learner": options.learner,
                "split": options.split,
                "copies": int(self.split.copied.sum()),
                **asdict(self.report),  # type: ignore[call-overload]
                "without_copies": asdict(self.without_copies) if self.without_copies else None,  # type: ignore[call-overload]
            }
        )


def check_options(options: TrainOptions) -> str:
    """Return the column to predict, which is empty with ``--apply``. Only the schema of the file is read.

    Raises:
        InputError: No column is given, the options contradict each other, or the model cannot be saved.
        RecordError: There is no such column.
    """
    if options.apply_:
        if options.label or options.save:
            raise InputError(
                "--apply predicts with a saved model, but --label and --save train one. Use one or the other."
            )
        require_columns(options.embedded, [] if options.output else ["text"])
        return ""
    if not options.label:
        names = ", ".join(list_columns(options.embedded))
        raise InputError(f"Give the column to predict: --label NAME. The columns are {names}.")
    require_columns(options.embedded, [options.label, options.group_column])
    if options.save and options.learner == Learner.FOREST:
        raise InputError(
            "A random forest cannot be saved, because its file would contain code. Save the default learner instead."
        )
    return options.label


def split_table(table: EmbeddedTable, strata: npt.ArrayLike, options: TrainOptions) -> RowSplit:
    """Split the rows of a table.

    Args:
        table: Rows to split.
        strata: Stratum of each row, shape ``(n,)``. Each stratum has about the same share of test rows.
        options: Type of the split, group column, share of test rows, and seed.

    Raises:
        InputError: One side would be empty.
        RecordError: The group column does not exist.
    """
    texts = table.texts() if "text" in table.records.column_names else None
    groups = group_copies(table.vectors, texts)
    if options.group_column is not None:
        groups = merge_groups(groups.tolist(), table.column(options.group_column))
    if Split(options.split) is Split.TEXT:
        train, test = split_groups(groups, strata=strata, test_share=options.test_share, seed=options.seed)
    else:
        from ..tasks.classify import split_rows  # imported lazily, because it loads scikit-learn

        train, test = split_rows(len(table), test_share=options.test_share, seed=options.seed)
    return RowSplit(train, test, groups, np.isin(groups[test], groups[train]))


def train_and_evaluate(
    table: EmbeddedTable,
    values: Sequence[Any] | npt.NDArray[Any],
    strata: npt.ArrayLike,
    options: TrainOptions,
    *,
    train: Callable[..., Any],
    train_forest: Callable[..., Any],
    evaluate: Callable[..., Report],
) -> TrainResult[Report]:
    """Train on one part of the rows, evaluate on the other, and save a model of all rows if requested.

    Args:
        table: Rows to train and test on.
        values: Value to predict for each row.
        strata: As for :func:`split_table`.
        options: Options of the command.
        train: Training function of the default learner.
        train_forest: Training function of the random forest.
        evaluate: Function of the model, the vectors, the values and the keywords ``trained_on`` and ``groups``.
    """
    column = options.label
    split = split_table(table, strata, options)
    groups = split.groups

    def select(rows: IntArray) -> Any:
        return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]

    trained_on = select(split.train)
    echo_err(f"Training on {len(split.train):,} rows of {table.space.model} (not OpenAI's vectors).")
    with status_line.step("Training"):
        vectors = table.vectors[split.train]
        if options.learner == Learner.FOREST:
            model = train_forest(vectors, trained_on, seed=options.seed)
        else:
            model = train(
                vectors, trained_on, groups=groups[split.train], column=column, space=table.space, seed=options.seed
            )

    def evaluate_on(rows: IntArray) -> Report:
        return evaluate(model, table.vectors[rows], select(rows), trained_on=trained_on, groups=groups[rows])

    result = TrainResult(
        split,
        evaluate_on(split.test),
        evaluate_on(split.test[~split.copied]) if split.copied.any() and not split.copied.all() else None,
    )
    if options.save:
        with status_line.step("Training on all rows"):
            model = train(table.vectors, values, groups=groups, column=column, space=table.space, seed=options.seed)
            model.save(options.save)
        echo_err(f"{options.save}: trained on all {len(table):,} rows.")
    return result


def apply_model(table: EmbeddedTable, path: Path, options: TrainOptions, *, classify: bool) -> None:
    """Predict every row with a saved model, and write the predictions to a file or print one line per row.

    Raises:
        InputError: The model is of the other type.
        SpaceMismatchError: The model was trained on vectors of another model.
    """
    model = load_predictor(path)
    if model.is_classifier is not classify:
        raise InputError(
            f"{path} predicts numbers; use `umekomi regress`."
            if classify
            else f"{path} predicts classes; use `umekomi classify`."
        )
    model.require_space(table.space)
    predictions = model.predict(table.vectors)
    columns: dict[str, list[object]] = {f"predicted_{model.column}": list(predictions)}
    if classify:
        indices = {name: index for index, name in enumerate(model.labels)}
        probabilities = model.probabilities(table.vectors)
        columns["probability"] = [float(probabilities[row, indices[label]]) for row, label in enumerate(predictions)]
    if options.output:
        write_rows(table, columns, options.output)
        return
    for row, text in enumerate(table.texts()):
        values = {name: column[row] for name, column in columns.items()}
        if options.as_json:
            print_json({**values, "text": text})
        else:
            cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in values.values()]
            echo("\t".join([*cells, shorten(text, 100)]))
