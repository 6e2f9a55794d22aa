"""Share of padding among the tokens that the transformers compute, for several bucket widths.

    python benchmarks/padding.py [--reviews ../shared/data/fine_food_reviews_1k.csv]

Texts are padded to the upper end of their length bucket (``umekomi/encoders/transformer/batching.py``). Narrow buckets need less
padding, but a batch contains texts of one bucket only, so there are more and smaller batches. The benchmark only counts tokens,
so it prints the same on every machine.
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

BUCKET_WIDTHS = (1, 2, 4, 8, 16, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=Path, default=Path("../shared/data/fine_food_reviews_1k.csv"))
    texts = read_reviews(parser.parse_args().reviews)
    catalog, store, settings = load_catalog(), AssetStore(current()), current()
    print(f"{len(texts):,} reviews, at most {settings.batch_tokens:,} tokens in a batch; the width in use is bold\n")
    print("| encoder | tokens | bucket width | padding | batches |\n| --- | ---: | ---: | ---: | ---: |")
    for name, spec in catalog.encoders.items():
        files = {purpose: store.find(catalog.assets[asset]) for purpose, asset in spec.assets.items()}
        if spec.type != "transformer" or None in files.values():
            continue
        part = next(part for card in catalog.models.values() for part in card.parts if part.encoder == name)
        lengths = build_encoder(spec, part, files, settings).lengths(texts)
        for width in BUCKET_WIDTHS:
            pad = partial(batching.padded_lengths, bucket=width)
            batches = list(batching.plan_batches(lengths, max_tokens=settings.batch_tokens, pad=pad))
            padding = 1 - sum(lengths) / pad(np.array(lengths)).sum()
            bold = "**" if width == batching.BUCKET else ""
            cells = [f"{bold}{cell}{bold}" for cell in (width, f"{padding:.2%}", len(batches))]
            print(f"| {name} | {sum(lengths):,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
