"""How much an embedded file repeats itself: `python examples/diversity.py reviews.parquet`."""

import sys

from umekomi import diversity, read_table

found = diversity(read_table(sys.argv[1]).vectors)
print(f"{found.n:,} rows, as diverse as {found.vendi:.1f} wholly unlike ones")
print(f"mean similarity {found.mean_similarity:.3f}; {found.duplicates.redundant:,} near-duplicates too many")
