"""Assemble a transformer from the tensors of its files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ....errors import InputError
from ....vectors.arithmetic import FloatArray, IntArray
from .architectures import Architecture, NormNames
from .config import TransformerConfig
from .layers import distance_buckets, missing_tensor_error
from .structure import Attention, Layer, Linear, Mlp, Norm, Norms, NormType, Transformer
from .weights import Blocks, Tensor

_BUFFERS = (".inv_freq", ".position_ids", ".masked_bias", ".attn.bias", ".attention.bias")
"""Ends of the names of tensors that are computed instead of read."""

_NUMBERS = re.compile(r"\.\d+\.")


def assemble(
    architecture: Architecture, config: TransformerConfig, tensors: Mapping[str, Tensor | Blocks]
) -> Transformer:
    """Return the transformer in some files.

    Args:
        architecture: Names of the tensors.
        config: Content of ``config.json``.
        tensors: The tensors by their names in the files. Each one that is used is looked up once.

    Raises:
        InputError: A tensor is missing, has another shape, or a layer has a tensor that nothing uses.
    """
    return _Assembler(architecture, config, tensors).assemble()


class _Assembler:
    def __init__(
        self, architecture: Architecture, config: TransformerConfig, tensors: Mapping[str, Tensor | Blocks]
    ) -> None:
        self._names = architecture
        self._config = config
        self._tensors = tensors
        self._used: set[str] = set()
        #: Whether the products and normalizations of a name, without the number of the layer, have a bias.
        self._biased: dict[str, bool] = {}
        self._start, self._words = self._find_words()

    def _find_words(self) -> tuple[str, str]:
        """Return the prefix of all names, and the name of the word embeddings."""
        for start in ("", *self._names.prefixes):
            for words in self._names.words:
                if f"{start}{words}.weight" in self._tensors:
                    return start, words
        raise missing_tensor_error(f"{self._names.words[0]}.weight")

    def assemble(self) -> Transformer:
        names, config = self._names, self._config
        words = self._lookup(f"{self._words}.weight")
        width = config.hidden if isinstance(words, Blocks) else words.shape[-1]
        positions = self._table(names.positions, width, rows=config.first_position + config.positions)
        projection = self._optional_linear("projection", names.projection, config.hidden, width)
        if width != config.hidden and projection is None:
            raise _shape_error(f"{self._words}.weight", words, (-1, config.hidden))
        segments = None
        if names.segments and (config.segments or (config.segments is None and self._has(names.segments))):
            segments = self._table(names.segments, width)
        relative = self._read_relative()
        layers: dict[str, Layer] = {}
        order = []
        for number in range(config.layers):
            group, member = config.shared[number] if config.shared else (0, 0)
            start = names.layer.format(number, group=group, member=member)
            if start not in layers:
                layers[start] = self._layer(start, number, relative)
            order.append(layers[start])
        distance_bias = self._table(names.distance_bias, config.heads)
        transformer = Transformer(
            config=config,
            words=words,
            positions=None if positions is None else positions[config.first_position :],
            segments=segments,
            embedding_norm=self._norm(names.embedding_norm, width, NormType.LAYER),
            projection=projection,
            layers=tuple(order),
            final_norm=self._norm(names.final_norm, config.hidden),
            distance_bias=self._by_distance(distance_bias),
            relative_buckets=None if relative is None else self._relative_buckets(),
        )
        self._require_all_used(layers)
        return transformer

    def _layer(self, start: str, number: int, relative: FloatArray | None) -> Layer:
        names = self._names
        before_attention = names.attention_norms
        if names.normalized_embeddings and not number:
            before_attention = replace(before_attention, before="")
        return Layer(
            attention=self._attention(start, number, relative),
            attention_norms=self._norms(start, before_attention),
            mlp=self._mlp(start),
            mlp_norms=self._norms(start, names.mlp_norms),
        )

    def _attention(self, start: str, number: int, relative: FloatArray | None) -> Attention:
        names, config = self._names, self._config
        n_query, n_key = config.heads * config.size, config.groups * config.size
        if names.fused:
            fused = self._linear(start + names.fused, n_query + 2 * n_key, config.hidden)
            query, key, value = _split(fused, (n_query, n_key, n_key))
        else:
            query, key, value = (
                self._linear(start + name, n_rows, config.hidden)
                for name, n_rows in ((names.query, n_query), (names.key, n_key), (names.value, n_key))
            )
        return Attention(
            query=query,
            key=key,
            value=value,
            output=self._linear(start + names.output, config.hidden, n_query),
            query_norm=self._norm(start + names.query_norm, config.size) if names.query_norm else None,
            key_norm=self._norm(start + names.key_norm, config.size) if names.key_norm else None,
            rotation=config.ropes[number].angles(config.size) if config.ropes else None,
            reach=config.reaches[number] if config.reaches else None,
            relative_keys=None if relative is None else self._project_relative(relative, key),
            relative_queries=None if relative is None else self._project_relative(relative, query),
        )

    def _mlp(self, start: str) -> Mlp:
        names, hidden = self._names, self._config.hidden
        down = self._linear(start + names.down, hidden, -1)
        inner = down.weight.shape[1]
        if names.gate_and_up:
            halves = _split(self._linear(start + names.gate_and_up, 2 * inner, hidden), (inner, inner))
            gate, up = halves if names.gate_first else halves[::-1]
            return Mlp(up, down, gate)
        up = self._linear(start + names.up, inner, hidden)
        return Mlp(up, down, self._linear(start + names.gate, inner, hidden) if names.gate else None)

    def _norms(self, start: str, names: NormNames) -> Norms:
        return Norms(
            *(
                self._norm(start + name if name else "", self._config.hidden)
                for name in (names.before, names.result, names.after)
            )
        )

    def _norm(self, name: str, size: int, norm_type: NormType | None = None) -> Norm | None:
        """Return a normalization, or None if the architecture has none."""
        if not name:
            return None
        weight = self._vector(name, ("weight", "gamma"), size)
        if self._names.norm_offset:
            weight = weight + np.float32(self._names.norm_offset)
        return Norm(norm_type or self._names.norm, weight, self._bias(name, ("bias", "beta"), size), self._config.eps)

    def _bias(self, name: str, suffixes: tuple[str, ...], size: int) -> FloatArray | None:
        """Return the bias of a product or a normalization. A damaged file may lack one that the other layers have."""
        anywhere = _NUMBERS.sub(".N.", name)
        exists = self._has(name, suffixes)
        expected = self._biased.setdefault(anywhere, self._names.biases or exists)
        if exists and not expected:
            raise InputError(f"The model's weights have no bias like that of {name!r} in earlier layers.")
        return self._vector(name, suffixes, size) if expected else None

    def _optional_linear(self, option: str, name: str, n_out: int, n_in: int) -> Linear | None:
        if not name or (option in self._names.optional and not self._has(name)):
            return None
        return self._linear(name, n_out, n_in)

    def _linear(self, name: str, n_out: int, n_in: int) -> Linear:
        weight = self._lookup(f"{name}.weight")
        _require_shape(f"{name}.weight", weight, (n_out, n_in))
        return Linear(weight, self._bias(name, ("bias",), n_out))

    def _table(self, name: str, width: int, *, rows: int = -1) -> FloatArray | None:
        """Return a matrix, or None if ``name`` is empty. -1 is any number of rows."""
        if not name:
            return None
        return self._floats(f"{name}.weight", (rows, width))

    def _vector(self, name: str, suffixes: tuple[str, ...], size: int) -> FloatArray:
        """Return a vector under the first suffix that exists."""
        existing = [suffix for suffix in suffixes if self._has(name, (suffix,))]
        return self._floats(f"{name}.{(existing or list(suffixes))[0]}", (size,))

    def _floats(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        tensor = self._lookup(name)
        _require_shape(name, tensor, shape)
        return tensor.to_float() if isinstance(tensor, Blocks) else np.ascontiguousarray(tensor, dtype=np.float32)

    def _has(self, name: str, suffixes: tuple[str, ...] = ("weight",)) -> bool:
        return any(f"{self._start}{name}.{suffix}" in self._tensors for suffix in suffixes)

    def _lookup(self, name: str) -> Tensor | Blocks:
        self._used.add(self._start + name)
        try:
            tensor = self._tensors[self._start + name]
        except KeyError:
            raise missing_tensor_error(self._start + name) from None
        # The sum takes a fraction of the time of checking each number. Some kernels turn NaN into other numbers.
        if not isinstance(tensor, Blocks) and not np.isfinite(np.sum(tensor)):
            raise InputError(
                f"The model's tensor {self._start + name!r} has values that are not finite, so its file is damaged."
            )
        return tensor

    def _require_all_used(self, starts: Mapping[str, Layer]) -> None:
        """Raise InputError if a layer or the embeddings have a tensor that nothing uses: then they compute something else."""
        whole = tuple(self._start + start for start in (*starts, "embeddings."))
        for name in self._tensors.keys() - self._used:
            if name.startswith(whole) and not name.endswith(_BUFFERS):
                raise InputError(f"The model's weights have a tensor {name!r}, which Umekomi does not support.")

    def _by_distance(self, table: FloatArray | None) -> FloatArray | None:
        """Return the bias of T5 or ALiBi for each distance from query to key: ``(2 n + 1, heads)``."""
        reach = self._config.max_distance
        distances = np.arange(-reach, reach + 1)
        if self._config.linear_biases:
            return (-np.abs(distances)[:, None] * linear_slopes(self._config.heads)).astype(np.float32)
        return None if table is None else table[distance_buckets(distances, len(table), max_distance=reach)]

    def _read_relative(self) -> FloatArray | None:
        """Return DeBERTa's embeddings of relative positions: ``(2 n, hidden)``."""
        names, config = self._names, self._config
        if not names.relative:
            return None
        span = config.position_buckets or config.max_distance
        table = self._floats(f"{names.relative}.weight", (2 * span, config.hidden))
        norm = self._norm(names.relative_norm, config.hidden)
        assert norm is not None and norm.bias is not None  # noqa: S101, PT018 - no architecture omits them
        centered = table - table.mean(axis=1, keepdims=True)
        scaled = centered / np.sqrt(np.square(centered).mean(axis=1, keepdims=True) + np.float32(norm.eps))
        normalized: FloatArray = scaled * norm.weight + norm.bias
        return normalized

    def _project_relative(self, relative: FloatArray, linear: Linear) -> FloatArray:
        """Return the relative positions as keys or queries of each head: ``(heads, 2 n, size)``."""
        weight = linear.weight.to_float() if isinstance(linear.weight, Blocks) else linear.weight
        projected = relative @ weight.T
        if linear.bias is not None:
            projected += linear.bias
        return np.ascontiguousarray(projected.reshape(len(relative), self._config.heads, -1).transpose(1, 0, 2))

    def _relative_buckets(self) -> IntArray:
        """Return the bucket of each distance from key to query: ``(2 n + 1,)``."""
        config = self._config
        # The position of the query minus that of the key.
        distances = -np.arange(-config.max_distance, config.max_distance + 1)
        span = config.position_buckets or config.max_distance
        buckets = (
            log_buckets(distances, config.position_buckets, config.max_distance)
            if config.position_buckets
            else distances
        )
        return np.clip(buckets + span, 0, 2 * span - 1)


def linear_slopes(n_heads: int) -> FloatArray:
    """Return the slope of each head in ALiBi: a geometric sequence, and for other numbers than powers of 2 parts of two of them.

    >>> linear_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** (n_heads.bit_length() - 1)
    slopes = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    between = [2 ** (-4 * (head + 1) / power) for head in range(0, 2 * power, 2)]
    return np.array([*slopes, *between[: n_heads - power]], dtype=np.float32)


def log_buckets(distances: IntArray, n_buckets: int, max_distance: int) -> IntArray:
    """Return DeBERTa's bucket of each distance: distances up to half of the buckets have their own, larger ones share them.

    Args:
        distances: ``(n,)``.
        n_buckets: Number of buckets of each direction.
        max_distance: Distance of the last bucket.
    """
    middle = n_buckets // 2
    size = np.where(np.abs(distances) < middle, middle - 1, np.abs(distances)).astype(np.float32)
    steps = np.log(size / np.float32(middle)) / np.float32(np.log((max_distance - 1) / middle)) * np.float32(middle - 1)
    large = np.ceil(steps) + middle
    return np.where(np.abs(distances) <= middle, distances, large * np.sign(distances)).astype(np.int64)


def shrink(transformer: Transformer, n_words: int) -> Transformer:
    """Return a transformer with the first ``n_words`` words, and only the first of the layers that compute alike."""
    alike: dict[object, Layer] = {}
    for layer in transformer.layers:
        attention, norms = layer.attention, layer.attention_norms
        alike.setdefault((attention.reach is None, attention.rotation, norms.before is None), layer)
    words = transformer.words
    if isinstance(words, Blocks):
        words = Blocks(words.packed[:n_words], words.scales[:n_words])
    else:
        words = words[np.arange(n_words) % len(words)]
    config = replace(transformer.config, layers=len(alike))
    return replace(transformer, config=config, words=words, layers=tuple(alike.values()))


def _split(linear: Linear, sizes: tuple[int, ...]) -> list[Linear]:
    """Return a linear layer's rows in parts."""
    ends = np.cumsum(sizes)
    weight = linear.weight.to_float() if isinstance(linear.weight, Blocks) else linear.weight
    return [
        Linear(weight[end - size : end], None if linear.bias is None else linear.bias[end - size : end])
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]


def _require_shape(name: str, tensor: Tensor | Blocks, shape: tuple[int, ...]) -> None:
    """Raise InputError if a tensor has another shape; -1 stands for any size."""
    if len(tensor.shape) != len(shape) or any(
        size not in (-1, actual) for size, actual in zip(shape, tensor.shape, strict=True)
    ):
        raise _shape_error(name, tensor, shape)


def _shape_error(name: str, tensor: Tensor | Blocks, shape: tuple[int, ...]) -> InputError:
    expected = " × ".join("any" if size == -1 else str(size) for size in shape)
    actual = " × ".join(map(str, tensor.shape))
    return InputError(f"The model's tensor {name!r} has the shape {actual}, but its config.json needs {expected}.")
