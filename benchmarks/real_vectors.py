"""Vectors of real texts for the benchmarks of storage and search, cached in the folder build.

    python benchmarks/real_vectors.py [--data ../shared/data] [--sets cranfield news reviews questions sentences]

Documents are the abstracts of Cranfield, AG News and the food reviews. Queries are the questions of Cranfield and sentences of
the STS benchmark. File names contain the fingerprint of the model, so another version of the model has other files.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from umekomi import Embedder
from umekomi.evaluation.datasets import read_cranfield, read_stsb
from umekomi.vectors.arithmetic import FloatArray

MODEL = "text-embedding-ada-002"
BUILD = Path(__file__).parents[1] / "build"
DATA = Path(__file__).parents[2] / "shared" / "data"
_BLOCK = 1024
DOCUMENTS, QUERIES = ("cranfield", "news", "reviews"), ("questions", "sentences")


def _cranfield(data: Path) -> list[str]:
    folder = data / "cranfield"
    return list(read_cranfield(folder / "cran.all.1400", folder / "cran.qry", folder / "cranqrel").documents.values())


def _questions(data: Path) -> list[str]:
    folder = data / "cranfield"
    return list(read_cranfield(folder / "cran.all.1400", folder / "cran.qry", folder / "cranqrel").queries.values())


def _news(data: Path) -> list[str]:
    with (data / "AG_news_samples.csv").open(encoding="utf-8") as stream:
        return [f"{row['title']}. {row['description']}" for row in csv.DictReader(stream)]


def _reviews(data: Path) -> list[str]:
    with (data / "fine_food_reviews_1k.csv").open(encoding="utf-8") as stream:
        return [f"Title: {row['Summary']}; Content: {row['Text']}" for row in csv.DictReader(stream)]


def _sentences(data: Path) -> list[str]:
    return list(read_stsb(data / "stsb" / "sts-dev.csv", "stsb").left[::5])


TEXTS: Mapping[str, Callable[[Path], list[str]]] = {
    "cranfield": _cranfield,
    "news": _news,
    "reviews": _reviews,
    "questions": _questions,
    "sentences": _sentences,
}


def real_vectors(*sets: str, data: Path = DATA, model: str = MODEL) -> FloatArray:
    """Return the vectors of the sets, concatenated: ``(n, dims) float32``. Sets that are not cached are embedded first."""
    embedder = Embedder(model)
    BUILD.mkdir(exist_ok=True)
    arrays = []
    for name in sets:
        path = BUILD / f"real-{name}-{embedder.fingerprint}.npy"
        if not path.is_file():
            texts = TEXTS[name](data)
            start = time.monotonic()
            vectors = embedder.embed([text for text in texts if text.strip()])
            print(f"{name}: {len(vectors):,} texts embedded in {time.monotonic() - start:.0f} s", flush=True)
            np.save(path, vectors)
        arrays.append(np.load(path))
    return np.concatenate(arrays)


def mixtures(base: FloatArray, n: int) -> FloatArray:
    """Return ``n`` vectors of length 1. Each is the sum of a real vector and two others with weights below 1."""
    random = np.random.default_rng(0)
    vectors = np.empty((n, base.shape[1]), dtype=np.float32)
    for start in range(0, n, _BLOCK):
        block = vectors[start : start + _BLOCK]
        first, second, third = random.integers(0, len(base), (3, len(block)))
        np.take(base, first, axis=0, out=block)
        for others in (second, third):
            added = base[others]
            added *= random.random((len(block), 1), dtype=np.float32)
            block += added
        block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, np.newaxis]
    return vectors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", default=[*DOCUMENTS, *QUERIES], choices=list(TEXTS))
    options = parser.parse_args()
    vectors = real_vectors(*options.sets, data=options.data)
    print(f"{len(vectors):,} vectors of {vectors.shape[1]} dimensions")


if __name__ == "__main__":
    main()
