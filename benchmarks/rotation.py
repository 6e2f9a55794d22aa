"""Compute the matrix that moves the most important dimensions of a model to the front (src/umekomi/encoders/*.safetensors).

    UMEKOMI_ASSET_PATH=../shared/data .venv/bin/python benchmarks/rotation.py --data ../shared/data \
        --descriptions Translation-en -m text-embedding-3-small -o src/umekomi/encoders/rotation-small.safetensors

The columns of the matrix are the principal components of the parts before the last one, on the descriptions of Debian's packages,
which are about all kinds of subjects, and on the development sets. Debian's archive has the descriptions in
``dists/bookworm/main/i18n/Translation-en.xz``. The program prints the SHA-256 and the size for ``catalog.toml``. ``--measure
cranfield,jsquad`` prints how much of nDCG@10 the first dimensions keep, with a matrix that was fitted without the set. Vectors of
transformers are kept in build/parts.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from development import load_sets
from umekomi.catalog import Role, load_catalog
from umekomi.encoders.alignment import MATRIX_STEP
from umekomi.encoders.rotation import TENSOR
from umekomi.evaluation import metrics
from umekomi.evaluation.datasets import PairDataset, RetrievalDataset
from umekomi.evaluation.part_vectors import PartVectors
from umekomi.evaluation.translations import TranslationDataset
from umekomi.settings import current
from umekomi.vectors.arithmetic import FloatArray, shorten
from umekomi.vectors.exact import round_to

MAX_TEXTS = 2000
"""Maximum number of texts of each list of the development sets."""
MAX_DESCRIPTIONS = 6000
DESCRIPTIONS_SHARE = 0.8
"""Share of the descriptions in the matrix of moments. The lists of the development sets have equal parts of the rest."""
MAX_LETTERS = 500
_SIMILAR = re.compile(
    r"^(lib|node-|python3-|golang|ruby|r-cran|fonts-|ghc|gcc|hunspell|linux-|task-|tesseract-ocr-|texlive-lang)"
    r"|-(common|data|dbg|dev|doc|l10n|locale|perl)$"
)
"""Names of packages of which there are many with similar descriptions."""


def list_texts(data: PairDataset | RetrievalDataset | TranslationDataset) -> Iterator[tuple[list[str], Role | None]]:
    """Yield lists of texts of a set and their role."""
    if isinstance(data, PairDataset):
        yield [*data.left, *data.right], None
    elif isinstance(data, TranslationDataset):
        yield list(data.sentences), None
        yield list(data.translations), None
    else:
        yield [data.documents[key] for key in document_ids(data)], Role.DOCUMENT
        yield list(data.queries.values()), Role.QUERY


def document_ids(data: RetrievalDataset) -> list[str]:
    """Return the ids of the documents in the order of :func:`~umekomi.evaluation.retrieval.dense_run`, to share its vectors."""
    return sorted((key for key, text in data.documents.items() if text.strip()), reverse=True)


def read_descriptions(path: Path) -> list[str]:
    """Return descriptions of Debian's packages in a random order that is always the same."""
    texts = set()
    for entry in path.read_text("utf-8").split("\n\n"):
        name = re.search(r"^Package: (.*)", entry, re.MULTILINE)
        description = re.search(r"^Description-en: (.*(?:\n .*)*)", entry, re.MULTILINE)
        if name and description and not _SIMILAR.search(name[1]):
            title, *lines = description[1].split("\n")
            words = " ".join(line for line in lines if line.strip() != ".").split()
            texts.add(f"{title}. {' '.join(words)}"[:MAX_LETTERS])
    return random.Random(0).sample(sorted(texts), len(texts))


def moments(rows: FloatArray) -> FloatArray:
    """Return the mean outer product of the rows: ``(dims, dims)``."""
    products: FloatArray = rows.T.astype(np.float64) @ rows / len(rows)
    return products


def principal_components(descriptions: FloatArray, blocks: list[FloatArray]) -> FloatArray:
    """Return the principal components as columns, strongest first: ``(dims, dims)``, given matrices of moments."""
    mean = DESCRIPTIONS_SHARE * descriptions + (1 - DESCRIPTIONS_SHARE) * np.mean(blocks, axis=0)
    components: FloatArray = np.linalg.eigh(mean)[1][:, ::-1]
    return components


def measure(data: RetrievalDataset, documents: FloatArray, queries: FloatArray) -> float:
    """Return nDCG@10 of vectors."""
    scores = queries @ documents.T
    ids = document_ids(data)
    run = {query: dict(zip(ids, row.tolist(), strict=True)) for query, row in zip(data.queries, scores, strict=True)}
    per_query = metrics.ndcg(data.judgments, run, 10)
    return sum(per_query.values()) / len(per_query)


def rotate(vectors: FloatArray, matrix: FloatArray) -> FloatArray:
    """Multiply the first dimensions of vectors by a matrix."""
    size = len(matrix)
    return np.concatenate([vectors[:, :size] @ matrix.astype(np.float32), vectors[:, size:]], axis=1)


def main() -> None:
    """Compute and write the matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--descriptions", type=Path, required=True, help="Debian's file Translation-en, uncompressed")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--parts", type=Path, default=Path("build/parts"))
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument(
        "--measure", default="", help="sets, such as cranfield,jsquad, to measure with a matrix of the others"
    )
    options = parser.parse_args()
    catalog = load_catalog()
    card = replace(catalog.model(options.model), rotation="")
    catalog = replace(catalog, models={**catalog.models, card.id: card})
    model = PartVectors(options.parts, settings=current(), catalog=catalog).load(card.id)
    size = sum(model.part_dims[:-1])
    sets = {name: make() for name, make in load_sets(options.data).items()}
    texts = read_descriptions(options.descriptions)[:MAX_DESCRIPTIONS]
    descriptions = moments(model.embed(texts, role=Role.DOCUMENT)[:, :size])
    blocks = {
        name: [moments(model.embed(texts[:MAX_TEXTS], role=role)[:, :size]) for texts, role in list_texts(data)]
        for name, data in sets.items()
    }
    if options.output:
        matrix = round_to(principal_components(descriptions, [*chain(*blocks.values())]), MATRIX_STEP)
        save_file({TENSOR: np.ascontiguousarray(matrix.astype(np.float16))}, options.output)
        content = options.output.read_bytes()
        print(f'sha256 = "{hashlib.sha256(content).hexdigest()}"\nsize = {len(content)}')
    for name in filter(None, options.measure.split(",")):
        others = [*chain(*(block for other, block in blocks.items() if other != name))]
        matrix = principal_components(descriptions, others)
        data = sets[name]
        assert isinstance(data, RetrievalDataset)
        sides = [model.embed(texts, role=role) for texts, role in list_texts(data)]
        complete = measure(data, *sides)
        print(f"{name}: nDCG@10 {complete:.4f}", end="")
        for dims in (128, 256, 512):
            kept = measure(data, *(shorten(rotate(side, matrix), dims) for side in sides)) / complete
            print(f", {dims} dimensions keep {kept:.1%}", end="")
        print(flush=True)


if __name__ == "__main__":
    main()
