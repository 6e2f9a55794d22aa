"""The rows that have least to do with the others: `python examples/anomalies.py reviews.parquet`."""

import sys

from umekomi import find_anomalies, read_table

table = read_table(sys.argv[1])
texts = table.texts()
found = find_anomalies(table.vectors)
for row in (-found.scores).argsort()[:5]:
    print(f"{found.scores[row]:.3f}  {found.p_values[row]:.4f}  {texts[row][:90]}")
