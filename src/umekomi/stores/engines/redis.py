"""Redis with RediSearch (Redis 8, Redis Stack), or else with the vector sets of Redis 8.

A row is a hash ``umekomi:{NAME}:row:…`` with its id, vector (float32) and record (JSON). A sorted set holds the ids,
and the hash ``umekomi:collections`` the metadata of all collections. A batch is written completely or not at all. All
keys of a collection are on the same node.

The values that filters compare are stored beside the record: numbers, and hashes of text, so that text of any length
can be compared for equality. What Redis cannot decide (the order of text, integers above 2^53) is decided in this
process, for the rows that match the rest of the filter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import pyarrow as pa
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, StoreUnavailableError
from ...vectors.arithmetic import FloatArray
from ..base import Hit, retry_until
from ..columns import ColumnType, rows_to_records, rows_to_table, to_json_rows
from ..errors import Failure
from ..filters.approximate import Approximation
from ..filters.attributes import KEY
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Quantization
from .base import FilteredStore, list_urls
from .redis_filters import (
    CompiledFilter,
    approximate_filter,
    compile_filter,
    to_search_fields,
    to_set_attributes,
)

_METADATA_KEY = "umekomi:collections"
_DEFAULT_M, _DEFAULT_EF, _DEFAULT_EF_SEARCH, _MAX_EF_SEARCH = 16, 200, 200, 1_000_000
#: Seconds to wait for an index that was just created. The server reads the names of all its keys for it.
_INDEX_SECONDS = 120.0
_BATCH_ROWS, _BATCH_BYTES = 1000, 1 << 24
_MAX_PLAIN_KEY_BYTES = 200
_MAX_FILTER_EF = 1_000_000_000
_MATCH_ALL = f"(-@{KEY}:{{none}})"
_CANDIDATES_PER_HIT = {Quantization.BINARY: 30, Quantization.INT8: 2, Quantization.FLOAT16: 2}
"""Rows whose full vectors are compared after a search of compressed vectors."""

_Row = tuple[str, FloatArray, dict[str, Any]]
"""Id, vector and JSON row."""


class RedisStore(FilteredStore):
    """A collection in Redis."""

    engine = "Redis"
    max_dims = 32_768

    def __init__(self, address: Address, space: Space | None) -> None:
        self._name = address.name
        self._prefix = f"umekomi:{{{self._name}}}"
        self._ids_key = f"{self._prefix}:ids"
        self._vectors_key = f"{self._prefix}:vectors"
        self._client = _connect(address)
        self._is_indexed = False
        super().__init__(address, space)

    def _check_new(self, space: Space) -> None:
        super()._check_new(space)
        supported = (Quantization.FLOAT16,) if self._has_search else (Quantization.INT8, Quantization.BINARY)
        if self._options.quantization not in (None, Quantization.NONE, *supported):
            index = "RediSearch" if self._has_search else "vector sets"
            raise InputError(
                f"{self.url} uses {index}, which does not support quantization={self._options.quantization}. "
                f"Use {' or '.join(supported)} or none."
            )

    @staticmethod
    def _classify_error(error: Exception) -> tuple[Failure, str] | None:
        if isinstance(error, (AuthenticationError, AuthorizationError, NoPermissionError)):
            return Failure.UNAUTHORIZED, str(error)
        if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
            return Failure.UNAVAILABLE, str(error)
        return (Failure.OTHER, str(error)) if isinstance(error, (RedisError, ValueError, OSError)) else None

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        with super()._translate_errors():
            try:
                yield
            except (redis.ConnectionError, redis.TimeoutError):
                # After a restart, the server builds its index again.
                self._is_indexed = False
                raise

    def _read_metadata(self) -> CollectionMetadata | None:
        self._has_search = _has_search(self._client, self.url)
        text = cast(bytes | None, self._client.hget(_METADATA_KEY, self._name))
        return None if text is None else parse_metadata(text, self.url)

    def _create_collection(self, metadata: CollectionMetadata) -> CollectionMetadata | None:
        self._client.hsetnx(_METADATA_KEY, self._name, metadata.to_json())
        return self._read_metadata()

    def _encode(self, ids: list[str], records: pa.Table, columns: Mapping[str, ColumnType]) -> list[dict[str, Any]]:
        return to_json_rows(records, columns)

    def _write(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        self._create_index()
        size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // (4 * self.space.dims)))
        for start in range(0, len(ids), size):
            batch = slice(start, start + size)
            with self._translate_errors():
                self._write_batch(ids[batch], vectors[batch], rows[batch])

    def _write_batch(self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]]) -> None:
        pipe = self._client.pipeline(transaction=True)
        for name, vector, row in zip(ids, vectors, rows, strict=True):
            data: dict[str, Any] = {"id": name, "vector": vector.tobytes(), "record": _to_json(row)}
            if self._has_search:
                data |= to_search_fields(name, row, self._columns)
                if self._options.quantization is Quantization.FLOAT16:
                    data["half"] = vector.astype(np.float16).tobytes()
            else:
                formats = {Quantization.INT8: "Q8", Quantization.BINARY: "BIN"}
                pipe.execute_command(
                    "VADD", self._vectors_key, "FP32", vector.tobytes(), name,
                    formats.get(self._options.quantization or Quantization.NONE, "NOQUANT"),
                    "EF", self._options.ef or _DEFAULT_EF,
                    "SETATTR", _to_json(to_set_attributes(name, row, self._columns)), "M", self._options.m or _DEFAULT_M,
                )  # fmt: skip
            pipe.hset(self._key(name), mapping=data)
        pipe.zadd(self._ids_key, dict.fromkeys(ids, 0))
        pipe.execute()

    def _create_index(self) -> None:
        """Create the index unless it exists, and wait while the server builds it."""
        if self._is_indexed or not self._has_search:
            return
        with self._translate_errors():
            try:
                self._client.execute_command(*self._create_index_command())
            except ResponseError as error:
                if "already exists" not in str(error).lower():
                    raise
            # Even an empty index is ready only after some milliseconds.
            retry_until(self._require_index, _INDEX_SECONDS)
        self._is_indexed = True

    def _require_index(self) -> None:
        """Raise StoreUnavailableError while the server builds the index."""
        about = _to_dict(self._client.execute_command("FT.INFO", self._prefix))
        if int(about["indexing"]) or float(about["percent_indexed"]) < 1:
            raise StoreUnavailableError(
                f"{self.url} builds its index after a start of the server. Try again, or wait with ?timeout=SECONDS."
            )

    def _create_index_command(self) -> list[Any]:
        options = self._options
        is_float16 = options.quantization is Quantization.FLOAT16
        params: list[Any] = ["TYPE", "FLOAT16" if is_float16 else "FLOAT32", "DIM", self.space.dims]
        params += ["DISTANCE_METRIC", "COSINE"]
        if not options.exact:
            params += ["M", options.m or _DEFAULT_M, "EF_CONSTRUCTION", options.ef or _DEFAULT_EF]
        index = "FLAT" if options.exact else "HNSW"
        fields: list[Any] = ["half" if is_float16 else "vector", "AS", "v", "VECTOR", index, len(params), *params]
        tag = ["TAG", "CASESENSITIVE"]
        for number, column_type in enumerate(self._columns.values()):
            is_numeric = column_type in (ColumnType.INTEGER, ColumnType.FLOAT, ColumnType.TIME)
            fields += [f"c{number}", *(["NUMERIC"] if is_numeric else tag)]
        fields += [KEY, *tag, "nulls", *tag]
        return ["FT.CREATE", self._prefix, "ON", "HASH", "PREFIX", 1, f"{self._prefix}:row:", "SCHEMA", *fields]

    def _approximate(self, where: Where) -> Approximation:
        return approximate_filter(where, self._columns, has_search=self._has_search)

    def _compile(self, where: Where | None) -> CompiledFilter | None:
        return None if where is None else compile_filter(where, self._columns, has_search=self._has_search)

    def _search_complete(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        if where is not None and not self._has_search:
            # A vector set cannot count matching elements, and its graph may not lead to them. Every element is
            # compared.
            return self._search(vectors, k, where, exact=True)
        return super()._search_complete(vectors, k, where)

    def _nearest(self, queries: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        self._create_index()
        n_rows = self._count_matches(None)
        if not n_rows:
            return [[] for _ in queries]
        compiled = self._compile(where)
        return [self._find_nearest(query, min(k, n_rows), n_rows, compiled, exact=exact) for query in queries]

    def _find_nearest(
        self, query: FloatArray, k: int, n_rows: int, where: CompiledFilter | None, *, exact: bool
    ) -> list[Hit]:
        per_hit = _CANDIDATES_PER_HIT.get(self._options.quantization or Quantization.NONE, 1)
        find = self._query_index if self._has_search else self._query_set
        with self._translate_errors():
            scores = dict(find(query, min(k * per_hit, n_rows), where, exact=exact))
        rows = self._read_rows(list(scores))
        if per_hit > 1:
            # The index compares compressed vectors.
            scores |= {name: float(vector @ query) for name, vector, _ in rows}
        return sorted(self._to_hits(rows, scores), key=lambda hit: -hit.score)[:k]

    def _query_index(
        self, query: FloatArray, k: int, where: CompiledFilter | None, *, exact: bool
    ) -> list[tuple[str, float]]:
        is_float16 = self._options.quantization is Quantization.FLOAT16
        policy = (
            "" if self._options.exact else f" EF_RUNTIME {max(self._options.ef_search or _DEFAULT_EF_SEARCH, 2 * k)}"
        )
        if exact and not self._options.exact:
            # The server compares every vector only under a filter.
            policy = " HYBRID_POLICY ADHOC_BF"
            where = where or CompiledFilter(_MATCH_ALL)
        text = f"{where.text if where else '*'}=>[KNN {k} @v $vector{policy} AS distance]"
        vector = query.astype(np.float16).tobytes() if is_float16 else query.tobytes()
        params = {"vector": vector, **(where.params if where else {})}
        response = self._execute_search(
            text, params, "RETURN", 2, "id", "distance", "SORTBY", "distance", "LIMIT", 0, k
        )
        rows = (_to_dict(row) for row in response[2::2])
        return [(row["id"].decode(), 1.0 - float(row["distance"])) for row in rows]

    def _execute_search(self, text: str, params: Mapping[str, Any], *rest: Any) -> list[Any]:
        values = [part for pair in params.items() for part in pair]
        arguments = ["PARAMS", len(values), *values] if values else []
        # By default, the server returns incomplete results after half a second.
        timeout = ["TIMEOUT", int(1000 * self.timeout_s)]
        return cast(
            list[Any],
            self._client.execute_command("FT.SEARCH", self._prefix, text, *rest, *timeout, *arguments, "DIALECT", 2),
        )

    def _query_set(
        self, query: FloatArray, k: int, where: CompiledFilter | None, *, exact: bool
    ) -> list[tuple[str, float]]:
        command: list[Any] = ["VSIM", self._vectors_key, "FP32", query.tobytes(), "WITHSCORES", "COUNT", k]
        command += ["EF", min(_MAX_EF_SEARCH, max(self._options.ef_search or _DEFAULT_EF_SEARCH, 2 * k))]
        if where is not None:
            command += ["FILTER", where.text, "FILTER-EF", _MAX_FILTER_EF]
        if exact or self._options.exact:
            command.append("TRUTH")
        response = cast(list[bytes], self._client.execute_command(*command)) or []
        pairs = zip(response[::2], response[1::2], strict=True)
        return [(name.decode(), 2.0 * float(score) - 1.0) for name, score in pairs]

    def _count_matches(self, where: Where | None) -> int:
        compiled = self._compile(where)
        if compiled is None:
            with self._translate_errors():
                return cast(int, self._client.zcard(self._ids_key))
        self._create_index()
        with self._translate_errors():
            return int(self._execute_search(compiled.text, compiled.params, "LIMIT", 0, 0)[0])

    def _count(self, where: Where | None) -> int:
        if where is None or self._has_search:
            return super()._count(where)
        return self._count_by_scanning(where)

    def _scan(self, where: Where) -> Iterator[list[Hit]]:
        for rows in self._read_pages(1024):
            yield self._to_hits(rows)

    def _to_hits(self, rows: list[_Row], scores: Mapping[str, float] | None = None) -> list[Hit]:
        records = rows_to_records([row for _, _, row in rows], self._columns)
        return [
            Hit(name, 1.0 if scores is None else scores[name], record)
            for (name, _, _), record in zip(rows, records, strict=True)
        ]

    def _get(self, ids: list[str]) -> list[Hit]:
        return self._to_hits(self._read_rows(ids))

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {name: vector for name, vector, _ in self._read_rows(ids)}

    def _read_rows(self, ids: Sequence[str]) -> list[_Row]:
        with self._translate_errors():
            pipe = self._client.pipeline(transaction=False)
            for name in ids:
                pipe.hmget(self._key(name), ["vector", "record"])
            rows = pipe.execute()
        return [
            (name, np.frombuffer(vector, np.float32), json.loads(record))
            for name, (vector, record) in zip(ids, rows, strict=True)
            if vector is not None
        ]

    def _delete(self, ids: list[str]) -> None:
        with self._translate_errors():
            pipe = self._client.pipeline(transaction=True)
            for name in ids:
                pipe.zrem(self._ids_key, name)
                pipe.unlink(self._key(name))
                if not self._has_search:
                    pipe.execute_command("VREM", self._vectors_key, name)
            pipe.execute()

    def _iterate(self, size: int) -> Iterator[tuple[list[str], FloatArray, pa.Table]]:
        for rows in self._read_pages(size):
            vectors = np.stack([vector for _, vector, _ in rows])
            yield [name for name, _, _ in rows], vectors, rows_to_table([row for _, _, row in rows], self._columns)

    def _read_pages(self, size: int) -> Iterator[list[_Row]]:
        start = b"-"
        while names := self._retry(partial(self._read_ids, start, size)):
            rows = self._retry(partial(self._read_rows, [name.decode() for name in names]))
            if rows:
                yield rows
            start = b"(" + names[-1]

    def _read_ids(self, start: bytes, size: int) -> list[bytes]:
        with self._translate_errors():
            return cast(list[bytes], self._client.zrangebylex(self._ids_key, start, b"+", start=0, num=size))

    def _drop_collection(self) -> None:
        for rows in self._read_pages(_BATCH_ROWS):
            self.delete([name for name, _, _ in rows])
        with self._translate_errors():
            if self._has_search:
                try:
                    self._client.execute_command("FT.DROPINDEX", self._prefix)
                except ResponseError as error:
                    if "no such index" not in str(error).lower() and "unknown index" not in str(error).lower():
                        raise
            self._client.delete(self._ids_key, self._vectors_key)
            self._client.hdel(_METADATA_KEY, self._name)
        self._is_indexed = False

    def _close(self) -> None:
        self._client.close()

    def _details(self) -> dict[str, object]:
        with self._translate_errors():
            about = self._client.info()
        index = "vector set" if not self._has_search else "FLAT" if self._options.exact else "HNSW"
        has_log = about.get("aof_enabled")
        durability = "append-only file" if has_log else "snapshots only: turn on appendonly to keep every row"
        return {"version": about["redis_version"], "index": index, "durability": durability, **self._options.to_dict()}

    def _key(self, name: str) -> str:
        # RediSearch does not index hashes whose keys have 64 kB.
        if len(name.encode()) <= _MAX_PLAIN_KEY_BYTES:
            return f"{self._prefix}:row:={name}"
        return f"{self._prefix}:row:#{blake2b(name.encode(), digest_size=32).hexdigest()}"


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _to_dict(pairs: Sequence[Any]) -> dict[str, Any]:
    """Convert a response that alternates keys and values."""
    return {key.decode(): value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _has_search(client: Any, url: str) -> bool:
    """Return whether the server has RediSearch. Otherwise it has vector sets."""
    try:
        client.execute_command("FT._LIST")
    except ResponseError as error:
        if "unknown command" not in str(error).lower():
            raise
        if not any(client.execute_command("COMMAND", "INFO", "VADD") or []):
            raise StoreError(f"{url} has neither RediSearch nor vector sets. Use Redis 8 or Redis Stack.") from error
        return False
    return True


def _connect(address: Address) -> Any:
    # The result is Any because the client's type hints support neither raw commands nor synchronous responses.
    tls: dict[str, Any] = {}
    if address.tls or address.scheme == "rediss":
        tls = {"ssl": True, "ssl_ca_certs": address.parameters.get("ca")}
    # The client does not retry, because `retry_until` does it for all engines.
    return redis.Redis(
        host=address.host,
        port=address.port,
        username=address.user or None,
        password=address.secret or None,
        socket_timeout=address.timeout_s,
        socket_connect_timeout=address.timeout_s,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        **tls,
    )


def open_collection(address: Address, space: Space | None) -> RedisStore:
    """Open ``redis://user:password@host:6379/name``."""
    return RedisStore(address, space)


def list_collections(address: Address) -> list[str]:
    """Return the URLs of a server's collections that Umekomi created."""
    with closing(_connect(address)) as client:

        def list_names() -> list[str]:
            return [name.decode() for name in cast(list[bytes], client.hkeys(_METADATA_KEY))]

        return list_urls(address, RedisStore._classify_error, list_names)
