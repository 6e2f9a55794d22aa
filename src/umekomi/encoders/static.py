"""Static models: the vector of a text is the mean of one vector per token, without a transformer.

There are two formats. sentence-transformers' ``StaticEmbedding`` has a table ``embedding.weight``. model2vec has a table
``embeddings``, and may have ``mapping`` (the row of each token id) and ``weights`` (the factor of each token id). Its tables may
be int8, whose scale has no effect on vectors of length 1. model2vec leaves unknown tokens out; sentence-transformers does not.

A static model has no window. Both libraries truncate a text at the maximum length in ``tokenizer.json`` or ``config.json``;
here the mean is over all tokens of the text, like the average of the pieces of a long text in :mod:`.transformer.encoder`.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from ..errors import InputError
from ..progress import Progress
from ..vectors.arithmetic import FloatArray, IntArray, normalize
from .base import Encoder
from .forks import guard
from .transformer.network.weights import SafetensorsFiles
from .transformer.numpy_steps import apply_steps
from .transformer.steps import Step
from .transformer.vocabulary import TextTokenizer, max_ids, read_tokenizer

IdArray = npt.NDArray[np.int32]

SLICE_SIZE = 1024
"""Number of texts that are tokenized at a time, while the vectors of the texts before them are computed."""
GROUP_BYTES = 1 << 20
"""Maximum size of the rows that are looked up at a time, so that they stay in the CPU's cache."""
BLOCK = 256
"""Number of tokens that are added one after another. The sums of a long text's blocks lose fewer digits than one long sum."""


MAX_REMEMBERED = 1 << 22
"""Maximum number of token ids that a tokenizer remembers: 16 MiB."""


class StaticVocabulary(TextTokenizer):
    """The tokenizer of a static model.

    Tokenizing takes nine tenths of the time of a static model. So short texts are not counted before they are embedded, and the
    ids of texts that are counted are remembered until then.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, before=(), after=())
        self._remembered: dict[str, IdArray] = {}
        self._n_remembered = 0
        self._lock = threading.Lock()
        guard.register(self)

    def after_fork(self) -> None:
        """Replace the lock: a thread that held it does not exist in this process."""
        self._lock = threading.Lock()

    def counts(self, texts: list[str]) -> list[int]:
        """Return the number of ids of each text, and remember the ids until :meth:`take` returns them."""
        arrays = self._arrays(texts)
        with self._lock:
            for text, ids in zip(texts, arrays, strict=True):
                self._forget(text)
                self._remembered[text] = ids
                self._n_remembered += len(ids)
            while self._n_remembered > MAX_REMEMBERED:
                self._forget(next(iter(self._remembered)))
        return [len(ids) for ids in arrays]

    def may_exceed(self, text: str, limit: int) -> bool:
        # Vectors of texts without ids are all zeros, which are rejected.
        return max_ids(text) > limit

    def take(self, texts: Sequence[str]) -> list[IdArray]:
        """Return the ids of each text, which are forgotten."""
        if not self._remembered:
            return self._arrays(list(texts))
        with self._lock:
            arrays = [self._remembered.get(text) for text in texts]
            for text in texts:
                self._forget(text)
        missing = iter(self._arrays([text for text, ids in zip(texts, arrays, strict=True) if ids is None]))
        return [next(missing) if ids is None else ids for ids in arrays]

    def _arrays(self, texts: list[str]) -> list[IdArray]:
        if not texts:
            return []
        lists = self.ids(texts)
        # Slices of one array: converting many lists takes longer.
        ids = np.fromiter(chain.from_iterable(lists), dtype=np.int32)
        ends = list(accumulate(map(len, lists)))
        return [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _forget(self, text: str) -> None:
        ids = self._remembered.pop(text, None)
        if ids is not None:
            self._n_remembered -= len(ids)


class StaticEncoder(Encoder):
    """A table with one vector per token. Safe to use from several threads.

    Args:
        name: Name for messages.
        table: ``(rows, dims)``, float32 or int8.
        tokenizer: Converts texts to token ids.
        mapping: ``(ids,)``, the row of each token id. By default the id itself.
        weights: ``(ids,) float32``, the factor of each token id.
        skipped: Token id that is left out, or None.
        prefixes: Text before the texts of each role. ``None`` is for texts without a role.
        steps: Steps after the mean of the tokens.
    """

    def __init__(
        self,
        name: str,
        table: npt.NDArray[Any],
        tokenizer: StaticVocabulary,
        *,
        mapping: IntArray | None = None,
        weights: FloatArray | None = None,
        skipped: int | None = None,
        prefixes: Mapping[str | None, str] | None = None,
        steps: Sequence[Step] = (),
    ) -> None:
        self.name = name
        self.dims: int = reduce(lambda dims, step: step.output_dims(dims), steps, table.shape[1])
        self._steps = tuple(steps)
        self.architecture = "static"
        self.is_normalized = True
        self._table = table
        self._tokenizer = tokenizer
        self._mapping = mapping
        self._weights = weights
        self._skipped = skipped
        self._prefixes = dict(prefixes or {})
        self.prompts = {name: prefix for name, prefix in self._prefixes.items() if name is not None}

    @property
    def n_weights(self) -> int:
        """Number of weights of the table."""
        return self._table.size

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        prefix = self._prefixes.get(role, "")
        first = 0
        for ids in self._tokenize_slices([prefix + text for text in texts] if prefix else texts):
            last = first + len(ids)
            means = self._average(ids)
            vectors[first:last] = apply_steps(means, self._steps) if self._steps else means
            progress(len(ids))
            first = last
        return normalize(vectors)

    def _tokenize_slices(self, texts: Sequence[str]) -> Iterator[list[IdArray]]:
        """Yield the token ids of each slice of the texts. The next slice is tokenized while the caller uses the last one."""
        if len(texts) <= SLICE_SIZE:
            yield self._tokenizer.take(texts)
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="umekomi-tokens")
        try:
            slices = (texts[start : start + SLICE_SIZE] for start in range(0, len(texts), SLICE_SIZE))
            waiting = pool.submit(self._tokenizer.take, next(slices))
            for following in slices:
                ids = waiting.result()
                waiting = pool.submit(self._tokenizer.take, following)
                yield ids
            yield waiting.result()
        finally:
            # An abandoned call does not wait for the remaining tokens.
            pool.shutdown(wait=False, cancel_futures=True)

    def _average(self, texts: Sequence[IdArray]) -> FloatArray:
        """Return the mean of the tokens' vectors for each text: ``(len(texts), columns) float32``; zeros without tokens.

        Texts of one length are added together, each in the order of its tokens, so the bytes do not depend on the batch.
        """
        if (
            self._skipped is not None
            and ((texts[0] if len(texts) == 1 else np.concatenate(texts)) == self._skipped).any()
        ):
            texts = [ids[ids != self._skipped] for ids in texts]
        if len(texts) == 1 and 0 < len(texts[0]) <= BLOCK:
            return self._sum_block(texts[0][None]) / np.float32(len(texts[0]))
        n_columns = self._table.shape[1]
        means = np.zeros((len(texts), n_columns), dtype=np.float32)
        by_length = defaultdict(list)
        for index, ids in enumerate(texts):
            by_length[len(ids)].append(index)
        by_length.pop(0, None)
        for length, indices in by_length.items():
            size = max(1, GROUP_BYTES // (4 * n_columns * length))
            for start in range(0, len(indices), size):
                group = indices[start : start + size]
                means[group] = self._sum(np.stack([texts[index] for index in group])) / np.float32(length)
        return means

    def _sum(self, ids: IdArray) -> FloatArray:
        """Return the sums of the vectors of the tokens in each row: ``(texts, length) -> (texts, dims) float32``."""
        blocks = [self._sum_block(ids[:, start : start + BLOCK]) for start in range(0, ids.shape[1], BLOCK)]
        return reduce(np.add, blocks)

    def _sum_block(self, ids: IdArray) -> FloatArray:
        rows = self._table.take(ids if self._mapping is None else self._mapping.take(ids), axis=0)
        if self._weights is not None:
            rows = rows * self._weights.take(ids)[:, :, None]
        total: FloatArray = np.add.reduce(rows, axis=1, dtype=np.float32)
        return total

    def identity(self) -> dict[str, object]:
        return {
            "kind": "static",
            "name": self.name,
            "skipped": self._skipped,
            **({"steps": [step.describe() for step in self._steps]} if self._steps else {}),
            "prefixes": {role or "": prefix for role, prefix in self._prefixes.items()},
        }


def load_static(
    model: str, folder: Path, *, prefixes: Mapping[str | None, str] | None = None, steps: Sequence[Step] = ()
) -> tuple[StaticEncoder, StaticVocabulary]:
    """Load a static model.

    Args:
        model: Name of the model for messages.
        folder: Folder with ``model.safetensors`` and ``tokenizer.json``, and for model2vec also ``config.json``.
        prefixes: Text before the texts of each role.
        steps: Steps after the mean of the tokens.

    Raises:
        InputError: A file is missing or has another format, or the table does not match the tokenizer.
    """
    for name in ("model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise InputError(f"{model} is a static model without {name}.", param="model")
    is_model2vec = is_model2vec_folder(folder)
    tensors = SafetensorsFiles([folder / "model.safetensors"], integers=("embeddings", "mapping"))
    # sentence-transformers loads both names, too.
    name = "embedding.weight" if "embedding.weight" in tensors else "embeddings"
    unknown = sorted(tensors.keys() - {name, "mapping", "weights"})
    if name not in tensors or unknown:
        problem = f"the unknown tensor {unknown[0]}" if unknown else "neither embedding.weight nor embeddings"
        raise InputError(f"{model} is a static model, but its model.safetensors has {problem}.", param="model")
    table = _read_table(tensors, name, model)
    if steps and table.dtype == np.int8:
        raise InputError(f"{model} has a table of int8, whose scale is unknown, and modules after it.", param="model")
    tokenizer = read_tokenizer(folder / "tokenizer.json", name=model)
    mapping = _read_mapping(tensors, n_rows=len(table), model=model)
    weights = np.asarray(tensors["weights"], dtype=np.float32) if "weights" in tensors else None
    n_ids = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    for vector in (table if mapping is None else mapping, weights):
        if vector is not None and len(vector) < n_ids:
            raise InputError(
                f"{model} has vectors or weights for {len(vector)} tokens, but its tokenizer has {n_ids}.",
                param="model",
            )
    vocabulary = StaticVocabulary(tokenizer)
    encoder = StaticEncoder(
        # Not the name of the folder, because the same files have the same space under any path.
        "static",
        table,
        vocabulary,
        mapping=mapping,
        weights=weights,
        skipped=_unknown_id(tokenizer) if is_model2vec else None,
        prefixes=prefixes,
        steps=steps,
    )
    encoder.source = "model.safetensors"
    return encoder, vocabulary


def read_static_vocabulary(file: Path, model: str) -> StaticVocabulary:
    """Read the ``tokenizer.json`` of a static model, which adds no special tokens. Raises InputError if it is damaged."""
    return StaticVocabulary(read_tokenizer(file, name=model))


def is_model2vec_folder(folder: Path) -> bool:
    """Return whether the ``config.json`` in a folder is model2vec's."""
    try:
        description = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(description, dict) and description.get("model_type") == "model2vec"


def _read_table(tensors: SafetensorsFiles, name: str, model: str) -> npt.NDArray[Any]:
    table = tensors[name]
    if table.ndim != 2 or not table.size or table.dtype not in (np.float32, np.int8):
        raise InputError(
            f"{model} has a table of {table.dtype} and the shape {table.shape}; Umekomi reads matrices of floating-point "
            "numbers and of int8.",
            param="model",
        )
    return table


def _unknown_id(tokenizer: Tokenizer) -> int | None:
    """Return the id of the unknown token, or None if the vocabulary has none."""
    if isinstance(tokenizer.model, Unigram):
        # The library's object does not have the id.
        unknown: int | None = json.loads(tokenizer.to_str())["model"].get("unk_id")
        return unknown
    return None if tokenizer.model.unk_token is None else tokenizer.token_to_id(tokenizer.model.unk_token)


def _read_mapping(tensors: SafetensorsFiles, *, n_rows: int, model: str) -> IntArray | None:
    if "mapping" not in tensors:
        return None
    mapping = tensors["mapping"].astype(np.int64)
    if mapping.ndim != 1 or (len(mapping) and not 0 <= mapping.min() <= mapping.max() < n_rows):
        raise InputError(f"{model} maps tokens to rows outside its table of {n_rows} rows.", param="model")
    return mapping
