"""How good are the vectors, part by part and whole? The development sets of ../shared/data; nothing else is tuned on.

    python benchmarks/quality.py [--data ../shared/data]

Cranfield: nDCG@10 over 225 queries (gain 4 for code 1 … 1 for code 4). STS-B dev and JSTS: Spearman's correlation of the
cosine with the people's scores. "query/document" embeds the two sides of the search with their roles, "one role" both as
the API does.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from umekomi import Embedder, Role
from umekomi.vectors import compose

Judgements = dict[int, dict[int, int]]


def cranfield(folder: Path) -> tuple[list[str], list[str], Judgements]:
    """Documents by number, queries in order, and gains by query and document; document 240 is not in the file."""
    documents = [""] * 1400
    for entry in re.split(r"^\.I\s+", (folder / "cran.all.1400").read_text("latin-1"), flags=re.MULTILINE)[1:]:
        number = int(entry.split(None, 1)[0])
        fields = dict(re.findall(r"^\.([TW])\n(.*?)(?=^\.[TABW]\n|\Z)", entry, flags=re.MULTILINE | re.DOTALL))
        documents[number - 1] = " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split())
    entries = re.split(r"^\.I\s+", (folder / "cran.qry").read_text("latin-1"), flags=re.MULTILINE)[1:]
    queries = [" ".join(entry.split(".W", 1)[1].split()) for entry in entries]
    gains: Judgements = {}
    for line in (folder / "cranqrel").read_text("latin-1").splitlines():
        query, document, code = (int(cell) for cell in line.split()[:3])
        if 1 <= code <= 4:
            gains.setdefault(query - 1, {})[document - 1] = 5 - code
    return documents, queries, gains


def ndcg(scores: np.ndarray, gains: Judgements, k: int = 10) -> float:
    found = []
    for query, known in gains.items():
        order = np.argsort(-scores[query], kind="stable")[:k]
        ideal = sorted(known.values(), reverse=True)[:k]
        total = sum(known.get(int(document), 0) / np.log2(rank + 2) for rank, document in enumerate(order))
        found.append(total / sum(gain / np.log2(rank + 2) for rank, gain in enumerate(ideal)))
    return float(np.mean(found))


def pairs(path: Path) -> tuple[list[str], list[str], list[float]]:
    if path.suffix == ".json":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        return [row["sentence1"] for row in rows], [row["sentence2"] for row in rows], [row["label"] for row in rows]
    cells = [line.split("\t") for line in path.read_text("utf-8").splitlines()]
    return [row[5] for row in cells], [row[6] for row in cells], [float(row[4]) for row in cells]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    data = parser.parse_args().data
    if not data.is_dir():
        sys.exit(f"There is no folder {data}: say where the development sets are with --data.")
    embedder = Embedder()
    encoders, weights = embedder._encoders, [part.weight for part in embedder.card.parts]

    def parts(texts: list[str], role: Role | None = None) -> list[np.ndarray]:
        return [encoder.encode(texts, role=role) for encoder in encoders]

    documents, queries, gains = cranfield(data / "cranfield")
    texts = [text or "empty" for text in documents]
    sides = [(parts(queries), parts(texts)), (parts(queries, Role.QUERY), parts(texts, Role.DOCUMENT))]
    sentences = []
    for path in (data / "stsb" / "sts-dev.csv", data / "jsts" / "train_3000.json"):
        left, right, gold = pairs(path)
        sentences.append((parts(left), parts(right), gold))

    print(
        "| vectors | Cranfield nDCG@10, one role | query/document | STS-B dev | JSTS |\n| --- | ---: | ---: | ---: | ---: |"
    )
    chosen = [([place], encoder.name) for place, encoder in enumerate(encoders)]
    chosen += [
        (list(range(len(encoders) - 1)), "the transformers together"),
        (list(range(len(encoders))), f"**{embedder.model}**"),
    ]
    for places, title in chosen:
        share = [weights[place] for place in places]

        def mixed(vectors: list[np.ndarray], places: list[int] = places, share: list[float] = share) -> np.ndarray:
            return compose([vectors[place] for place in places], share)

        cells = [ndcg(mixed(query) @ mixed(document).T, gains) for query, document in sides]
        for left, right, gold in sentences:
            cosines = (mixed(left) * mixed(right)).sum(axis=1)
            cells.append(spearmanr(cosines, gold).statistic if cosines.any() else float("nan"))
        print(f"| {title} | " + " | ".join("–" if np.isnan(cell) else f"{cell:.3f}" for cell in cells) + " |")


if __name__ == "__main__":
    main()
