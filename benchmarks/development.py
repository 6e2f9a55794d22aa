"""Print the figures of models on all development sets.

    UMEKOMI_ASSET_PATH=../shared/data .venv/bin/python benchmarks/development.py --data ../shared/data \
        -m text-embedding-ada-002 -m multilingual-e5-small

Transformers' vectors are kept in build/parts, so that models with common parts embed each text once. A second model is compared
with the first by the paired bootstrap where ``--compare`` is given: a star marks differences outside of their 95 % intervals.
``--save src/umekomi/figures.json`` stores the figures for ``umekomi models list``.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from umekomi.catalog import load_catalog
from umekomi.evaluation import metrics
from umekomi.evaluation.code_search import load_code
from umekomi.evaluation.datasets import PairDataset, RetrievalDataset, load_pairs, load_retrieval
from umekomi.evaluation.metrics import Estimate
from umekomi.evaluation.model_figures import MeasuredFigures, write_figures
from umekomi.evaluation.part_vectors import PartVectors
from umekomi.evaluation.retrieval import SearchModels, dense_run, evaluate_sts, load_search_models, mean_difference
from umekomi.evaluation.translations import TranslationDataset, evaluate_translations, read_translations
from umekomi.settings import current

Dataset = RetrievalDataset | PairDataset | TranslationDataset


def read_cisi(folder: Path) -> RetrievalDataset:
    """Read CISI's 1,460 abstracts and the 76 queries with judgments."""
    documents, queries = (dict(_read_entries(folder / name)) for name in ("CISI.ALL", "CISI.QRY"))
    relevant: dict[str, dict[str, int]] = {}
    for line in (folder / "CISI.REL").read_text("latin-1").splitlines():
        query, document = line.split()[:2]
        relevant.setdefault(query, {})[document] = 1
    return RetrievalDataset("CISI", documents, {query: queries[query] for query in relevant}, relevant)


def _read_entries(path: Path) -> Iterator[tuple[str, str]]:
    for entry in re.split(r"^\.I\s+", path.read_text("latin-1"), flags=re.MULTILINE)[1:]:
        fields = dict(re.findall(r"^\.([TW])\n(.*?)(?=^\.[A-Z]\n|\Z)", entry, flags=re.MULTILINE | re.DOTALL))
        yield entry.split(None, 1)[0], " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split())


def read_jsquad(path: Path) -> RetrievalDataset:
    """Read JSQuAD's paragraphs. The first question of each is its query."""
    articles = json.loads(path.read_text("utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    return RetrievalDataset(
        "JSQuAD",
        {str(index): paragraph["context"] for index, paragraph in enumerate(paragraphs)},
        {f"q{index}": paragraph["qas"][0]["question"] for index, paragraph in enumerate(paragraphs)},
        {f"q{index}": {str(index): 1} for index in range(len(paragraphs))},
    )


def read_news(path: Path) -> RetrievalDataset:
    """Read AG News: 700 titles are the queries of their descriptions."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return RetrievalDataset(
        "AG News titles",
        {str(index): row["description"] for index, row in enumerate(rows)},
        {f"t{index}": row["title"] for index, row in enumerate(rows[:700])},
        {f"t{index}": {str(index): 1} for index in range(700)},
    )


def load_sets(data: Path) -> dict[str, Callable[[], Dataset]]:
    """Return functions that load the sets, by name."""

    def tatoeba(code: str) -> Callable[[], Dataset]:
        return lambda: read_translations(*(data / "tatoeba" / f"{code}-eng.{side}" for side in (code, "eng")))

    return {
        **{f"tatoeba-{code}": tatoeba(code) for code in ("jpn", "deu", "spa")},
        "stsb": lambda: load_pairs("stsb", split="dev"),
        "jsts": lambda: load_pairs("jsts"),
        "jsquad": lambda: read_jsquad(data / "jsquad" / "valid.json"),
        "cranfield": lambda: load_retrieval("cranfield"),
        "cisi": lambda: read_cisi(data / "cisi"),
        "news": lambda: read_news(data / "AG_news_samples.csv"),
        "click": lambda: load_code("click"),
        "sklearn": lambda: load_code("sklearn", limit=500),
        "fsspec": lambda: load_code("fsspec", limit=500),
    }


def measure(name: str, data: Dataset, models: SearchModels) -> Mapping[str, tuple[float, Mapping[str, float]]]:
    """Return the figures of a set, each with its values by query or pair, as far as the figure is a mean of them."""
    if isinstance(data, TranslationDataset):
        result = evaluate_translations(data, models.document)
        hits = {"mixed": result.mixed_hits, "across": result.across_hits}
        return {
            f"{name} {key}": (sum(values) / len(values), {str(row): float(value) for row, value in enumerate(values)})
            for key, values in hits.items()
        }
    if isinstance(data, PairDataset):
        return {f"{name} Spearman": (evaluate_sts(data, models.document).spearman.value, {})}
    run, _ = dense_run(data, models)
    if name in ("jsquad", "cranfield", "cisi"):
        per_query, metric = metrics.ndcg(data.judgments, run, 10), "nDCG@10"
    else:
        per_query, metric = metrics.reciprocal_rank(data.judgments, run), "MRR"
    return {f"{name} {metric}": (sum(per_query.values()) / len(per_query), per_query)}


def main() -> None:
    """Print a table with a row for each figure and a column for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-m", "--model", action="append", default=[])
    parser.add_argument("--sets", default="", help="names with commas between; by default all")
    parser.add_argument("--parts", type=Path, default=Path("build/parts"))
    parser.add_argument("--compare", action="store_true", help="compare each model with the one before")
    parser.add_argument("--save", type=Path, help="file that the figures are added to")
    options = parser.parse_args()
    names = options.model or ["text-embedding-ada-002"]
    load = PartVectors(options.parts, settings=current(), catalog=load_catalog()).load
    models = [load_search_models(name, load) for name in names]
    makers = load_sets(options.data)
    print("| | " + " | ".join(names) + " |\n| --- |" + " ---: |" * len(names))
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for name in options.sets.split(",") if options.sets else makers:
        data = makers[name]()
        results = [measure(name, data, pair) for pair in models]
        for figure in results[0]:
            cells = []
            for index, result in enumerate(results):
                value, per_item = result[figure]
                values[names[index]][figure] = value
                cells.append(f"{value:.4f}")
                if options.compare and index and per_item:
                    cells[-1] += _mark(mean_difference(results[index - 1][figure][1], per_item))
            print(f"| {figure} | " + " | ".join(cells) + " |", flush=True)
        if options.save:
            _save(options.save, models, [values[model] for model in names])


def _save(path: Path, models: Sequence[SearchModels], figures: Sequence[Mapping[str, float]]) -> None:
    """Add the figures to a file, for both models of a pair."""
    today = date.today().isoformat()
    rows = {
        embedder.model: MeasuredFigures(embedder.fingerprint, today, values)
        for pair, values in zip(models, figures, strict=True)
        for embedder in (pair.document, pair.query)
    }
    write_figures(rows, path)


def _mark(difference: Estimate) -> str:
    return " *" if difference.low > 0 or difference.high < 0 else ""


if __name__ == "__main__":
    main()
