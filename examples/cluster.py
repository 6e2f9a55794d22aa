"""Group an embedded file and name the groups: `python examples/cluster.py reviews.parquet 4`."""

import sys

from umekomi import cluster, describe, read_table

table = read_table(sys.argv[1])
texts = table.texts()
for group in describe(cluster(table.vectors, k=int(sys.argv[2])), table.vectors, texts):
    print(f"{group.label}  {group.size:>4} rows  {', '.join(group.terms)}")
    print(f"     {texts[group.central[0]][:90]}")
