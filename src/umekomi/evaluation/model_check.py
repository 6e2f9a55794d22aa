"""Check whether a model runs on this machine: what it is made of, its speed, and its agreement with sentence-transformers.

>>> check = check_model("umekomi-fake", seconds=0.01)
>>> check["type"], check["dimensions"], check["throughput"]["unit"]
('embedder', 64, 'texts')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..assets.store import Report
from ..catalog import Role, load_catalog
from ..embedder import Embedder
from ..encoders.base import Encoder
from ..encoders.cross_encoder.folder import is_cross_encoder
from ..encoders.model_ids import ModelType, model_type, split_file
from ..encoders.sparse.splade import SpladeEncoder, is_splade
from ..encoders.transformer.folder.sentence_transformers import open_folder
from ..machine import available_cores
from ..reranker import Reranker
from ..settings import Settings, current
from ..sparse_embedder import SparseEmbedder
from .model_card import describe_parts

N_TOKENS = 32
"""Approximate number of tokens of the texts whose embedding is timed."""
BATCH = 32
"""Number of texts that are embedded in one call."""
SENTENCE = "the beans are soaked for one night and then cooked slowly in fresh water with a little salt"
"""Words of the texts whose embedding is timed."""
TEXTS = (
    "How do I reset my password?",
    "Open the settings, choose “Account” and click on “Reset password”.",
    "小豆を一晩水に浸してから、弱火で一時間煮ます。",
    "The 1,204 rows of the table were read in 0.37 s.",
    "naïve café, Straße, ÐΞΛ — x² ≤ 4",
)
"""Texts whose vectors are compared with those of sentence-transformers."""


def check_model(
    model: str, *, settings: Settings | None = None, seconds: float = 2.0, report: Report | None = None
) -> dict[str, Any]:
    """Load a model and return facts about it as plain data.

    Args:
        model: Id of the catalog, path of a folder, or ``owner/name`` on the Hugging Face hub. Cross-encoders and SPLADE
            models are accepted, too.
        settings: By default those of the environment.
        seconds: Time that the measurement of the throughput takes. With 0, neither the throughput is measured nor the model
            compared with sentence-transformers.
        report: Callback that receives one line of text for each file that is downloaded.

    Returns:
        ``type`` (``embedder``, ``reranker`` or ``sparse encoder``), ``parts`` (one for each encoder, with ``architecture``,
        ``file``, ``window``, ``steps``, ``n_weights`` and ``bytes`` by precision), ``license``, ``throughput`` and
        ``sentence_transformers``, among others. A fact that is not known is None.

    Raises:
        InputError: Umekomi cannot run the model. The message says why.
        AssetError: A file is missing.
    """
    settings = settings or current()
    base, file = split_file(model)
    folder = None
    if model_type(model) in (ModelType.FOLDER, ModelType.HUB):
        folder = open_folder(base, settings, file=file, report=report or _ignore)
    if folder is not None and is_cross_encoder(folder):
        return _check_reranker(model, folder, settings, seconds)
    if folder is not None and is_splade(folder):
        return _check_sparse(model, folder, settings, seconds)
    return _check_embedder(Embedder(model, settings=settings, report=report), folder, settings, seconds)


def _check_embedder(embedder: Embedder, folder: Path | None, settings: Settings, seconds: float) -> dict[str, Any]:
    card = embedder.card
    licenses = (
        [str(part["license"]) for part in describe_parts(card, load_catalog(settings.catalog))]
        if folder is None and model_type(card.id) is ModelType.CATALOG
        else []
    )
    return {
        "model": embedder.model,
        "type": "embedder",
        "parts": [_describe_encoder(encoder) for encoder in embedder.encoders],
        "dimensions": embedder.dims,
        "can_shorten": card.can_shorten,
        "shorter_dimensions": list(card.shorter_dims) or None,
        "prompts": {str(name): prompt for name, prompt in embedder.prompts.items() if prompt},
        "precision": embedder.precision or None,
        "license": ", ".join(dict.fromkeys(filter(None, licenses))) or _read_license(folder),
        "fingerprint": embedder.fingerprint,
        "throughput": _measure(
            lambda texts: embedder.embed(texts), _make_texts(embedder.tokenizer.count), seconds, unit="texts"
        ),
        "sentence_transformers": _compare_embedder(embedder, folder) if seconds else None,
    }


def _check_reranker(model: str, folder: Path, settings: Settings, seconds: float) -> dict[str, Any]:
    reranker = Reranker(model, settings=settings)
    encoder = reranker.encoder
    return {
        "model": model,
        "type": "reranker",
        "parts": [
            {
                "architecture": encoder.architecture,
                "file": encoder.source,
                "window": reranker.max_length,
                "steps": [f"score {encoder.activation}"],
                "n_weights": encoder.n_weights,
                "bytes": {"fp32": 4 * encoder.n_weights},
            }
        ],
        "precision": "fp32",
        "license": _read_license(folder),
        "throughput": _measure(
            lambda texts: reranker.score([("which beans cook fastest?", text) for text in texts]),
            _make_texts(lambda text: reranker.prepare(" ?", [text]).texts[0].n_tokens),
            seconds,
            unit="pairs",
        ),
        "sentence_transformers": _compare_reranker(reranker, folder) if seconds else None,
    }


def _check_sparse(model: str, folder: Path, settings: Settings, seconds: float) -> dict[str, Any]:
    embedder = SparseEmbedder(model, settings=settings)
    encoder = embedder.encoder
    assert isinstance(encoder, SpladeEncoder)  # noqa: S101
    return {
        "model": model,
        "type": "sparse encoder",
        "parts": [
            {
                "architecture": encoder.architecture,
                "file": encoder.source,
                "window": encoder.window,
                "steps": ["pool max", encoder.activation],
                "n_weights": encoder.n_weights,
                "bytes": {"fp32": 4 * encoder.n_weights},
            }
        ],
        "dimensions": embedder.dims,
        "can_shorten": False,
        "shorter_dimensions": None,
        "prompts": encoder.prompts,
        "precision": "fp32",
        "license": _read_license(folder),
        "fingerprint": embedder.fingerprint,
        "throughput": _measure(embedder.embed, _make_texts(encoder.count_tokens), seconds, unit="texts"),
        "sentence_transformers": _compare_sparse(embedder, folder) if seconds else None,
    }


def _describe_encoder(encoder: Encoder) -> dict[str, Any]:
    steps = encoder.identity().get("steps", [])
    n_weights = encoder.n_weights
    return {
        "name": encoder.name,
        "architecture": encoder.architecture or None,
        "file": encoder.source or None,
        "dimensions": encoder.dims,
        "window": encoder.window,
        "steps": [_describe_step(step) for step in steps] if isinstance(steps, Sequence) else [],
        "n_weights": n_weights or None,
        "bytes": {"fp32": 4 * n_weights, "bf16": 2 * n_weights} if n_weights else None,
    }


def _describe_step(step: Sequence[object]) -> str:
    """Return a step of :mod:`~umekomi.encoders.transformer.steps` without its checksums.

    >>> _describe_step(["pool", "cls", "mean"]), _describe_step(["dense", "tanh", "0123456789abcdef", None])
    ('pool cls mean', 'dense tanh')
    """
    n_shown = {"dense": 2, "layer norm": 1}.get(str(step[0]), len(step))
    return " ".join(map(str, step[:n_shown]))


def _read_license(folder: Path | None) -> str | None:
    """Return the license in the head of a folder's README.md, as on the Hugging Face hub; None if there is none."""
    if folder is None or not (folder / "README.md").is_file():
        return None
    head = re.match(r"---\s*\n(.*?)\n---", (folder / "README.md").read_text("utf-8", errors="replace"), re.DOTALL)
    fields = {
        name: _read_names(value)
        for name, value in re.findall(
            r"^(license|license_name):((?:[ \t]*\S.*|(?:\n[ \t]*-[ \t]+.*)+))$", head[1] if head else "", re.MULTILINE
        )
    }
    # A license that the hub does not know is "other" and has a name of its own.
    names = fields.get("license_name" if fields.get("license") == ["other"] else "license") or fields.get("license")
    return ", ".join(names) if names else None


def _read_names(value: str) -> list[str]:
    """Return the names in a value of YAML, which is a name or a list of names.

    >>> _read_names(" apache-2.0"), _read_names(" [mit, 'gpl-3.0']"), _read_names("\\n- mit\\n- bsd")
    (['apache-2.0'], ['mit', 'gpl-3.0'], ['mit', 'bsd'])
    """
    names = re.split(r"\n[ \t]*-[ \t]+|,", value.strip(" \t\r[]"))
    return [name.strip(" \t\r\"'") for name in names if name.strip()]


def _make_texts(count_tokens: Callable[[str], int]) -> tuple[list[str], int]:
    """Return texts of about :data:`N_TOKENS` tokens that differ in their numbers, and the mean number of tokens."""
    words = SENTENCE.split()
    text = ""
    for index in count():
        text += f"{words[index % len(words)]} "
        if count_tokens(text) >= N_TOKENS - 2 or index == N_TOKENS:
            break
    texts = [f"{text}{number}" for number in range(BATCH)]
    return texts, round(sum(map(count_tokens, texts)) / BATCH)


def _measure(
    compute: Callable[[list[str]], object], texts: tuple[list[str], int], seconds: float, *, unit: str
) -> dict[str, Any] | None:
    if not seconds:
        return None
    compute(texts[0])
    start = perf_counter()
    n_calls = 0
    while perf_counter() - start < seconds or not n_calls:
        compute(texts[0])
        n_calls += 1
    rate = n_calls * BATCH / (perf_counter() - start)
    return {
        "per_second": float(f"{rate:.3g}"),
        "unit": unit,
        "tokens": texts[1],
        "cores": available_cores(),
    }


def _compare_embedder(embedder: Embedder, folder: Path | None) -> dict[str, Any] | None:
    """Return the lowest cosine between vectors of Umekomi and of sentence-transformers, or the reason why there is none.

    Only texts within the window are compared, because sentence-transformers truncates longer ones.
    """

    def compare(library: Any) -> dict[str, Any]:
        model = library.SentenceTransformer(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
        )
        cosines: list[float] = []
        calls = {None: model.encode, Role.QUERY: model.encode_query, Role.DOCUMENT: model.encode_document}
        for role, encode in calls.items():
            prompt = embedder.prompts.get(role or "", "")
            texts = [text for text in TEXTS if _fits(model, prompt + text)]
            if texts:
                expected = encode(texts, normalize_embeddings=True)
                cosines += (embedder.embed(texts, role=role) * expected).sum(axis=1).tolist()
        if not cosines:
            return {"error": "no test text fits into the window"}
        return {"lowest_cosine": round(min(cosines), 6)}

    return _with_library(compare, folder)


def _fits(model: Any, text: str) -> bool:
    """Return whether a model of sentence-transformers does not truncate a text."""
    tokenizer = model.tokenizer
    if hasattr(tokenizer, "truncation"):  # that of a static model
        return not tokenizer.encode(text, add_special_tokens=False).overflowing
    return model.max_seq_length is None or len(tokenizer(text)["input_ids"]) <= model.max_seq_length


def _compare_sparse(embedder: SparseEmbedder, folder: Path) -> dict[str, Any] | None:
    """Return the greatest difference between weights of Umekomi and of sentence-transformers, or why there is none."""

    def compare(library: Any) -> dict[str, Any]:
        model = library.SparseEncoder(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
        )
        texts = [text for text in TEXTS if _fits(model, text)]
        if not texts:
            return {"error": "no test text fits into the window"}
        expected = model.encode(texts, convert_to_sparse_tensor=False).numpy()
        difference = np.abs(embedder.embed(texts).to_scipy().toarray() - expected)
        return {"greatest_difference": float(f"{difference.max():.2g}")}

    return _with_library(compare, folder)


def _compare_reranker(reranker: Reranker, folder: Path) -> dict[str, Any] | None:
    """Return the greatest difference between scores of Umekomi and of sentence-transformers, or why there is none."""

    def compare(library: Any) -> dict[str, Any]:
        model = library.CrossEncoder(
            str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
        )
        pairs = [(TEXTS[0], text) for text in TEXTS]
        difference = np.abs(reranker.score(pairs) - model.predict(pairs)).max()
        return {"greatest_difference": float(f"{difference:.2g}")}

    return _with_library(compare, folder)


def _with_library(compare: Callable[[Any], Mapping[str, Any]], folder: Path | None) -> dict[str, Any] | None:
    if folder is None or find_spec("sentence_transformers") is None:
        return None
    # Imported lazily, because the library is optional and takes seconds to import.
    try:
        return dict(compare(import_module("sentence_transformers")))
    # The library raises errors of many packages, for example for models with code of their own.
    except Exception as error:
        return {"error": (str(error).splitlines() or [type(error).__name__])[0]}


def _ignore(_: str) -> None:
    pass
