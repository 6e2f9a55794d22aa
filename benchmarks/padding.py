"""How many of the tokens that the transformers compute are padding, and what finer or coarser buckets would cost.

    python benchmarks/padding.py [--reviews ../shared/data/fine_food_reviews_1k.csv]

A text is padded to the end of its length bucket (umekomi/encoders/batching.py). Finer buckets pad less, but a batch holds
one bucket only, so that there are more and smaller batches. Counts only: the same on every machine.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from machine import read_reviews
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders import build_encoder
from umekomi.encoders.transformer import batching
from umekomi.settings import current

WIDTHS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    texts = read_reviews(parser.parse_args().reviews)
    catalog, store, settings = load_catalog(), AssetStore(current()), current()
    print(
        f"{len(texts):,} reviews, batches of at most {settings.batch_tokens:,} tokens; buckets of {batching.BUCKET}\n"
    )
    print("| encoder | tokens | tokens a bucket | padding | batches |\n| --- | ---: | ---: | ---: | ---: |")
    for name, spec in catalog.encoders.items():
        files = {purpose: store.find(catalog.assets[row]) for purpose, row in spec.assets.items()}
        if spec.type != "transformer" or None in files.values():
            continue
        part = next(part for card in catalog.models.values() for part in card.parts if part.encoder == name)
        lengths = build_encoder(spec, part, files, settings).lengths(texts)
        for width in WIDTHS:
            pad = partial(batching.padded_lengths, bucket=width)
            batches = list(batching.plan_batches(lengths, max_tokens=settings.batch_tokens, pad=pad))
            computed = pad(np.array(lengths)).sum()
            share = 1 - sum(lengths) / computed
            mark = "**" if width == batching.BUCKET else ""
            print(
                f"| {name} | {sum(lengths):,} | {mark}{width}{mark} | {mark}{share:.2%}{mark} | {mark}{len(batches)}{mark} |"
            )


if __name__ == "__main__":
    main()
