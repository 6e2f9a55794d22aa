"""Learn a column of an embedded file as classes and as numbers: `python examples/predict.py reviews.parquet Score`."""

import sys

from umekomi import (
    group_copies,
    read_table,
    report_classification,
    report_regression,
    split_groups,
    train_classifier,
    train_regressor,
)

source, column = sys.argv[1:3]
table = read_table(source)
labels, numbers = table.column(column), table.numbers(column)
# All copies of a text are on one side: a copy of a training row would measure memory.
texts = group_copies(table.vectors, table.texts())
train, test = split_groups(texts, strata=labels)
known = [labels[row] for row in train]

classifier = train_classifier(table.vectors[train], known)
classes = report_classification(classifier, table.vectors[test], [labels[row] for row in test], trained_on=known)
print(f"accuracy {classes.accuracy.value:.3f} (always {classes.baseline_label}: {classes.baseline_accuracy:.3f})")

regressor = train_regressor(table.vectors[train], numbers[train])
values = report_regression(regressor.predict, table.vectors[test], numbers[test], trained_on=numbers[train])
print(f"mean absolute error {values.mae.value:.3f} (always the mean: {values.baseline_mae:.3f})")
