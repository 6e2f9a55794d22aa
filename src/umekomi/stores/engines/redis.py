"""Redis: RediSearch where the server has it (Redis 8, Redis Stack), else the vector sets of Redis 8.

A row is a hash ``umekomi:{NAME}:row:…`` with its id, its vector (float32) and its record (JSON); a sorted set has the ids,
and the hash ``umekomi:collections`` the notes. A batch is written whole or not at all. All of a collection is on one node.

What a filter may ask for is kept beside the record: numbers as they are, text as a hash of it, which makes equality exact for any
text of any length. What Redis cannot decide (the order of texts, whole numbers past 2^53) is decided here, over the candidates
that the rest of the filter leaves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, cast

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError, ResponseError
from redis.retry import Retry

from ...data.embedded_file import Space
from ...errors import InputError, StoreError, StoreUnavailableError
from ...vectors.arithmetic import FloatArray, normalize
from ..base import Hit, Store, collection_not_found, retry_until
from ..columns import ColumnType, get_column_types, rows_to_records, rows_to_table, to_json_rows
from ..errors import translate_errors
from ..filters.evaluate import evaluate
from ..filters.language import Where
from ..metadata import CollectionMetadata, parse_metadata
from ..url import Address, Quantization
from .redis_filters import ID_FIELD, TextFilter, attributes, fields, search_filter, set_filter

DEFAULT_PORT = 6379
_COLLECTIONS = "umekomi:collections"
_M, _EF, _EF_SEARCH = 16, 200, 200
_MAX_DIMS = 32_768
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 1000, 1 << 24
_PLAIN_KEY_BYTES = 200
_EVERY_ROW = 1_000_000_000
_EVERY_KEY = f"(-@{ID_FIELD}:{{none}})"
_MOST_EF = 1_000_000

_Row = tuple[str, FloatArray, dict[str, Any]]
"""Id, vector and plain record."""


class RedisStore(Store):
    """A collection in Redis.

    Args:
        address: its URL.
        client: a connection.
        space: the space of a new collection; None opens one that is there.
    """

    engine = "Redis"

    def __init__(self, address: Address, client: Any, space: Space | None) -> None:
        self.url, self.timeout_s = address.url, address.timeout_s
        self._address, self._client = address, client
        self._prefix = f"umekomi:{{{address.name}}}"
        self._ids = f"{self._prefix}:ids"
        self._vectors = f"{self._prefix}:vectors"
        self._options = address.options
        self._note: CollectionMetadata | None = None
        self._is_ready = False
        retry_until(self._look, address.open_timeout_s)
        if self._note is None and space is None:
            raise collection_not_found(self.url)
        if self._note is None and space is not None:
            self.space = space
            self._check_options(space)
        if space is not None:
            self.require_space(space)

    def _look(self) -> None:
        with self._speaking():
            self._has_search = _has_search(self._client, self.url)
            text = self._client.hget(_COLLECTIONS, self._address.name)
        if text is not None:
            self._take(parse_metadata(cast(bytes, text), self.url))

    def _take(self, note: CollectionMetadata) -> None:
        self._note, self.space = note, note.space
        self._options = self._address.options.merge_over(note.options, self.url)

    def _check_options(self, space: Space) -> None:
        if space.dims > _MAX_DIMS:
            raise InputError(f"The vectors have {space.dims:,} dimensions; Redis takes at most {_MAX_DIMS:,}.")
        able = (Quantization.FLOAT16,) if self._has_search else (Quantization.INT8, Quantization.BINARY)
        wanted = self._options.quantization
        if wanted not in (None, Quantization.NONE, *able):
            kind = "RediSearch" if self._has_search else "vector sets"
            raise InputError(f"The {kind} of {self.url} takes quantization={', '.join(able)} or none, not {wanted}.")

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        self._check_process()
        with _speaking(self._address):
            try:
                yield
            except (redis.ConnectionError, redis.TimeoutError):
                # After a restart the server builds its index again.
                self._is_ready = False
                raise

    @property
    def _columns(self) -> dict[str, ColumnType]:
        return {} if self._note is None else dict(self._note.columns)

    def schema(self) -> Any:
        return CollectionMetadata(self.space).schema() if self._note is None else self._note.schema()

    def _upsert(self, ids: list[str], vectors: FloatArray, records: Any) -> None:
        if self._note is None:
            self._make(CollectionMetadata(self.space, get_column_types(records.schema), self._options))
        columns = self._columns
        strange = [name for name in records.column_names if name not in columns]
        if strange:
            raise InputError(f"{self.url} has been made with other columns by another process; open it again.")
        self._ready()
        unit = normalize(vectors)
        rows = to_json_rows(records, columns)
        step = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (4 * self.space.dims)))
        for start in range(0, len(ids), step):
            some = slice(start, start + step)
            with self._speaking():
                self._write(ids[some], unit[some], rows[some], columns)

    def _write(
        self, ids: list[str], vectors: FloatArray, rows: list[dict[str, Any]], columns: dict[str, ColumnType]
    ) -> None:
        pipe = self._client.pipeline(transaction=True)
        for name, vector, row in zip(ids, vectors, rows, strict=True):
            data: dict[str, Any] = {"id": name, "vector": vector.tobytes(), "record": _json(row)}
            if self._has_search:
                data |= fields(name, row, columns)
                if self._options.quantization is Quantization.FLOAT16:
                    data["half"] = vector.astype(np.float16).tobytes()
            else:
                pipe.execute_command(
                    "VADD", self._vectors, "FP32", vector.tobytes(), name, *self._set_options(),
                    "SETATTR", _json(attributes(name, row, columns)), "M", self._options.m or _M,
                )  # fmt: skip
            pipe.hset(self._key(name), mapping=data)
        pipe.zadd(self._ids, dict.fromkeys(ids, 0))
        pipe.execute()

    def _set_options(self) -> list[Any]:
        kinds = {Quantization.INT8: "Q8", Quantization.BINARY: "BIN"}
        kind = kinds.get(self._options.quantization or Quantization.NONE, "NOQUANT")
        return [kind, "EF", self._options.ef or _EF]

    def _make(self, note: CollectionMetadata) -> None:
        """Write the note; whoever comes second takes the first one's."""
        with self._speaking():
            self._client.hsetnx(_COLLECTIONS, self._address.name, note.to_json())
            there = parse_metadata(cast(bytes, self._client.hget(_COLLECTIONS, self._address.name)), self.url)
        self._take(there)
        self.require_space(note.space)

    def _ready(self) -> None:
        """Make the index if it is not there, and wait while the server builds it (again)."""
        if self._is_ready or not self._has_search or self._note is None:
            return
        with self._speaking():
            try:
                self._client.execute_command(*self._index_command())
            except ResponseError as error:
                if "already exists" not in str(error).lower():
                    raise
            about = _pairs(self._client.execute_command("FT.INFO", self._prefix))
            if int(about["indexing"]) or float(about["percent_indexed"]) < 1:
                raise StoreUnavailableError(
                    f"{self.url} builds its index after a start; try again, or wait with ?timeout=SECONDS."
                )
        self._is_ready = True

    def _index_command(self) -> list[Any]:
        options = self._options
        half = options.quantization is Quantization.FLOAT16
        about: list[Any] = [
            "TYPE",
            "FLOAT16" if half else "FLOAT32",
            "DIM",
            self.space.dims,
            "DISTANCE_METRIC",
            "COSINE",
        ]
        if not options.exact:
            about += ["M", options.m or _M, "EF_CONSTRUCTION", options.ef or _EF]
        kind = "FLAT" if options.exact else "HNSW"
        parts: list[Any] = ["half" if half else "vector", "AS", "v", "VECTOR", kind, len(about), *about]
        for place, column in enumerate(self._columns.values()):
            numeric = column in (ColumnType.INTEGER, ColumnType.FLOAT, ColumnType.TIME)
            parts += [f"c{place}", "NUMERIC"] if numeric else [f"c{place}", "TAG", "CASESENSITIVE"]
        parts += [ID_FIELD, "TAG", "CASESENSITIVE", "nulls", "TAG", "CASESENSITIVE"]
        return ["FT.CREATE", self._prefix, "ON", "HASH", "PREFIX", 1, f"{self._prefix}:row:", "SCHEMA", *parts]

    def _search_all(self, vectors: FloatArray, k: int, where: Where | None) -> list[list[Hit]]:
        if where is not None and not self._has_search:
            # A vector set cannot count what matches, and its graph may not lead there: every element is compared.
            return self._search(vectors, k, where, exact=True)
        return super()._search_all(vectors, k, where)

    def _count_up_to(self, where: Where | None, limit: int) -> int:
        if self._note is None or where is None:
            return self._count(None)
        return self._counted(search_filter(where, self._columns))

    def _counted(self, compiled: TextFilter) -> int:
        self._ready()
        with self._speaking():
            return int(self._find(compiled.text, compiled.params, "LIMIT", 0, 0)[0])

    def _search(self, vectors: FloatArray, k: int, where: Where | None, *, exact: bool) -> list[list[Hit]]:
        if self._note is None:
            return [[] for _ in vectors]
        self._ready()
        compiled = self._filter(where)
        n_rows = self._count(None)
        if not n_rows:
            return [[] for _ in vectors]
        k = min(k, n_rows)
        found = []
        for vector in normalize(vectors):
            exactly = compiled is None or compiled.is_exact
            n = k if exactly else max(4 * k, 100)
            while True:
                hits = self._nearest(vector, min(n, n_rows), compiled, n_rows, exact=exact)
                if compiled is not None and not exactly and where is not None:
                    hits = self._matching(hits, where)
                if exactly or len(hits) >= k or n >= n_rows:
                    break
                n *= 4
            found.append(sorted(hits, key=lambda hit: -hit.score)[:k])
        return found

    def _filter(self, where: Where | None) -> TextFilter | None:
        if where is None:
            return None
        return (search_filter if self._has_search else set_filter)(where, self._columns)

    def _nearest(self, vector: FloatArray, k: int, where: TextFilter | None, n_rows: int, *, exact: bool) -> list[Hit]:
        """The nearest rows of one vector; those of shortened vectors are measured again on the vectors themselves."""
        shortened = self._options.quantization not in (None, Quantization.NONE)
        n = k * (30 if self._options.quantization is Quantization.BINARY else 2 if shortened else 1)
        with self._speaking():
            near = (self._knn if self._has_search else self._similar)(vector, min(n, n_rows), where, exact=exact)
        rows = self._rows([name for name, _ in near])
        scores = dict(near)
        if shortened:
            scores |= {name: float(row @ vector) for name, row, _ in rows}
        records = rows_to_records([record for _, _, record in rows], self._columns)
        hits = [Hit(name, scores[name], record) for (name, _, _), record in zip(rows, records, strict=True)]
        return sorted(hits, key=lambda hit: -hit.score)[:k]

    def _knn(self, vector: FloatArray, k: int, where: TextFilter | None, *, exact: bool) -> list[tuple[str, float]]:
        half = self._options.quantization is Quantization.FLOAT16
        how = "" if self._options.exact else f" EF_RUNTIME {max(self._options.ef_search or _EF_SEARCH, 2 * k)}"
        if exact and not self._options.exact:
            # Under a filter, if only one that every row matches, each vector can be compared.
            how = " HYBRID_POLICY ADHOC_BF"
            where = where or TextFilter(_EVERY_KEY)
        query = f"{where.text if where else '*'}=>[KNN {k} @v $vector{how} AS distance]"
        params: dict[str, Any] = {"vector": vector.astype(np.float16).tobytes() if half else vector.tobytes()}
        params |= where.params if where else {}
        answer = self._find(query, params, "RETURN", 2, "id", "distance", "SORTBY", "distance", "LIMIT", 0, k)
        rows = (_pairs(row) for row in answer[2::2])
        return [(row["id"].decode(), 1.0 - float(row["distance"])) for row in rows]

    def _find(self, query: str, params: dict[str, Any], *rest: Any) -> list[Any]:
        flat = [part for pair in params.items() for part in pair]
        given = ["PARAMS", len(flat), *flat] if flat else []
        # Left to itself the server gives what it has found after half a second.
        limit = ["TIMEOUT", int(1000 * self.timeout_s)]
        return cast(
            list[Any],
            self._client.execute_command("FT.SEARCH", self._prefix, query, *rest, *limit, *given, "DIALECT", 2),
        )

    def _similar(self, vector: FloatArray, k: int, where: TextFilter | None, *, exact: bool) -> list[tuple[str, float]]:
        command: list[Any] = ["VSIM", self._vectors, "FP32", vector.tobytes(), "WITHSCORES", "COUNT", k]
        command += ["EF", min(_MOST_EF, max(self._options.ef_search or _EF_SEARCH, 2 * k))]
        if where is not None:
            command += ["FILTER", where.text, "FILTER-EF", _EVERY_ROW]
        if exact or self._options.exact:
            command.append("TRUTH")
        answer = cast(list[bytes], self._client.execute_command(*command)) or []
        return [
            (name.decode(), 2.0 * float(score) - 1.0) for name, score in zip(answer[::2], answer[1::2], strict=True)
        ]

    def _matching(self, hits: list[Hit], where: Where) -> list[Hit]:
        schema = self.schema()
        table = rows_to_table([], self._columns)
        if hits:
            table = type(table).from_pylist([hit.record for hit in hits], schema=schema)
        table = table.append_column("_id", [[hit.id for hit in hits]])
        return [hit for hit, match in zip(hits, evaluate(where, table).to_pylist(), strict=True) if match]

    def _count(self, where: Where | None) -> int:
        if self._note is None:
            return 0
        if where is None:
            with self._speaking():
                return cast(int, self._client.zcard(self._ids))
        compiled = self._filter(where)
        if self._has_search and compiled is not None and compiled.is_exact:
            return self._counted(compiled)
        return sum(len(self._matching(self._hits(rows), where)) for rows in self._pieces(1024))

    def _hits(self, rows: list[_Row]) -> list[Hit]:
        records = rows_to_records([record for _, _, record in rows], self._columns)
        return [Hit(name, 1.0, record) for (name, _, _), record in zip(rows, records, strict=True)]

    def _get(self, ids: list[str]) -> list[Hit]:
        if self._note is None:
            return []
        return self._hits(self._rows(ids))

    def _get_vectors(self, ids: list[str]) -> dict[str, FloatArray]:
        return {} if self._note is None else {name: vector for name, vector, _ in self._rows(ids)}

    def _rows(self, ids: Sequence[str]) -> list[_Row]:
        """Id, vector and plain record of the rows that are there."""
        with self._speaking():
            pipe = self._client.pipeline(transaction=False)
            for name in ids:
                pipe.hmget(self._key(name), ["vector", "record"])
            found = pipe.execute()
        return [
            (name, np.frombuffer(vector, np.float32), json.loads(record))
            for name, (vector, record) in zip(ids, found, strict=True)
            if vector is not None
        ]

    def _delete(self, ids: list[str]) -> None:
        with self._speaking():
            pipe = self._client.pipeline(transaction=True)
            for name in ids:
                pipe.zrem(self._ids, name)
                pipe.unlink(self._key(name))
                if not self._has_search:
                    pipe.execute_command("VREM", self._vectors, name)
            pipe.execute()

    def iterate(self, *, size: int = 1024) -> Iterator[tuple[list[str], FloatArray, Any]]:
        if self._note is None:
            return
        for rows in self._pieces(size):
            matrix = np.stack([vector for _, vector, _ in rows])
            yield [name for name, _, _ in rows], matrix, rows_to_table([record for _, _, record in rows], self._columns)

    def _pieces(self, size: int) -> Iterator[list[_Row]]:
        start = b"-"
        while names := retry_until(partial(self._names, start, size), self.timeout_s):
            rows = retry_until(partial(self._rows, [name.decode() for name in names]), self.timeout_s)
            if rows:
                yield rows
            start = b"(" + names[-1]

    def _names(self, start: bytes, size: int) -> list[bytes]:
        with self._speaking():
            return cast(list[bytes], self._client.zrangebylex(self._ids, start, b"+", start=0, num=size))

    def drop(self) -> None:
        if self._note is None:
            return
        for rows in self._pieces(1000):
            self.delete([name for name, _, _ in rows])
        with self._speaking():
            if self._has_search:
                try:
                    self._client.execute_command("FT.DROPINDEX", self._prefix)
                except ResponseError as error:
                    if "no such index" not in str(error).lower() and "unknown index" not in str(error).lower():
                        raise
            self._client.delete(self._ids, self._vectors)
            self._client.hdel(_COLLECTIONS, self._address.name)
        self._note, self._is_ready = None, False

    def close(self) -> None:
        if self._process == os.getpid():
            self._client.close()

    def _details(self) -> dict[str, object]:
        with self._speaking():
            about = self._client.info()
        kind = "vector set" if not self._has_search else "FLAT" if self._options.exact else "HNSW"
        safe = (
            "append-only file" if about.get("aof_enabled") else "snapshots only: turn on appendonly to keep every row"
        )
        return {"version": about["redis_version"], "index": kind, "kept by": safe, **self._options.to_dict()}

    def _key(self, name: str) -> str:
        # RediSearch leaves out keys of 64 kB.
        if len(name.encode()) <= _PLAIN_KEY_BYTES:
            return f"{self._prefix}:row:={name}"
        return f"{self._prefix}:row:#{blake2b(name.encode(), digest_size=32).hexdigest()}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return {key.decode(): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


@contextmanager
def _speaking(address: Address) -> Iterator[None]:
    with translate_errors(
        address,
        refused=(AuthenticationError, AuthorizationError, NoPermissionError),
        silent=(redis.ConnectionError, redis.TimeoutError),
        failed=(RedisError, ValueError, OSError),
    ):
        yield


def _has_search(client: Any, url: str) -> bool:
    try:
        client.execute_command("FT._LIST")
    except ResponseError as error:
        if "unknown command" not in str(error).lower():
            raise
        if not any(client.execute_command("COMMAND", "INFO", "VADD") or []):
            raise StoreError(f"{url} has neither RediSearch nor vector sets; use Redis 8 or Redis Stack.") from error
        return False
    return True


def _connect(address: Address) -> Any:
    # The client's types know neither raw commands nor answers that are not awaited.
    tls: dict[str, Any] = {}
    if address.tls or address.scheme == "rediss":
        tls = {"ssl": True, "ssl_ca_certs": address.parameters.get("ca")}
    # What to ask again, and for how long, is settled for all engines in `retry_until`.
    return redis.Redis(
        host=address.host, port=address.port(DEFAULT_PORT), username=address.user or None, password=address.secret or None,
        socket_timeout=address.timeout_s, socket_connect_timeout=address.timeout_s, protocol=2,
        retry=Retry(NoBackoff(), 0), **tls,
    )  # fmt: skip


def open_collection(address: Address, space: Space | None) -> RedisStore:
    """``redis://user:password@host:6379/name``."""
    if "/" in address.path:
        raise InputError(f"{address.url} names no collection; write it like redis://host:6379/name.")
    return RedisStore(address, _connect(address), space)


def list_collections(address: Address) -> list[str]:
    """The URLs of a server's collections."""
    client = _connect(address)

    def names() -> list[str]:
        with _speaking(address):
            return sorted(name.decode() for name in cast(list[bytes], client.hkeys(_COLLECTIONS)))

    found = retry_until(names, address.open_timeout_s)
    client.close()
    return [address.sibling(name).url for name in found]
