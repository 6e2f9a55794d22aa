"""Tell good reviews from bad ones with no labeled review: `python examples/zero_shot.py reviews.parquet`."""

import sys

from umekomi import Embedder, embed_labels, read_table, zero_shot

table = read_table(sys.argv[1])
labels = {
    "negative": ["A bad review.", "I was disappointed and would not buy it again."],
    "positive": ["A good review.", "I love it and will buy it again."],
}
found = zero_shot(table.vectors, embed_labels(labels, Embedder(table.space.model)))
for label, text in list(zip(found.predictions, table.texts(), strict=True))[:5]:
    print(f"{label:<9} {text[:90]}")
