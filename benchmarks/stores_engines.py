"""The engines that benchmarks/stores.py measures, each through its own client as its documentation advises."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

LEVELS = (100, 10, 1)
"""Per cent of the rows that a filter keeps; 100 is no filter."""

M, EF, EF_SEARCH = 16, 200, 200
"""HNSW's own settings, alike for every engine that has them."""


class Engine:
    """One store in a folder. A row's id is its number."""

    label: ClassVar[str]
    keeps_records: ClassVar[bool] = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def create(self, dims: int) -> None: ...

    def add(self, first: int, vectors: np.ndarray, shards: np.ndarray) -> None: ...

    def commit(self) -> None:
        """What the engine's own guide says makes a write safe, where returning from it is not enough."""

    def finish(self) -> None: ...

    def open(self, dims: int, *, writes: bool = False) -> None: ...

    def search(self, query: np.ndarray, k: int, level: int) -> list[int]: ...

    def count(self) -> int: ...

    def close(self) -> None: ...


def texts(first: int, n: int) -> list[str]:
    return [
        f"Row {row}: great coffee, smooth and mild, and it came in two days; I would order it again."
        for row in range(first, first + n)
    ]


class Umekomi(Engine):
    url: ClassVar[str]

    def _space(self, dims):
        from umekomi.data.embedded_file import Space

        return Space("bench", "0" * 16, dims)

    def create(self, dims):
        from umekomi.stores import create_store

        self.store = create_store(self.url.format(self.folder), self._space(dims))

    def open(self, dims, *, writes=False):
        self.create(dims)

    def add(self, first, vectors, shards):
        ids = [str(row) for row in range(first, first + len(vectors))]
        self.store.upsert(ids, vectors, pa.table({"shard": shards, "text": texts(first, len(ids))}))

    def finish(self):
        self.store.optimize()

    def search(self, query, k, level):
        where = None if level == 100 else f"shard < {level}"
        return [int(hit.id) for hit in self.store.search(query, k=k, where=where)[0]]

    def count(self):
        return self.store.count()

    def close(self):
        self.store.close()


class UmekomiLance(Umekomi):
    label = "**Umekomi, lance://** (the default)"
    url = "lance://{}/bench"


class UmekomiLanceFew(Umekomi):
    label = "Umekomi, lance://…?ef_search=125"
    url = "lance://{}/bench?ef_search=125"


class UmekomiEdge(Umekomi):
    label = "Umekomi, qdrant-edge://"
    url = "qdrant-edge://{}/bench"


class Lance(Engine):
    index: ClassVar[str] = ""
    options: ClassVar[dict[str, int]] = {}
    probes: ClassVar[dict[str, int]] = {}
    scalar: ClassVar[bool] = True

    def create(self, dims):
        import lancedb

        self.database = lancedb.connect(self.folder)
        self.dims, self.table = dims, None

    def add(self, first, vectors, shards):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        ids = np.arange(first, first + len(vectors))
        data = pa.table({"id": ids, "vector": flat, "shard": shards, "text": texts(first, len(ids))})
        if self.table is None:
            self.table = self.database.create_table("bench", data)
        else:
            self.table.add(data)

    def finish(self):
        import lancedb.index

        self.table.optimize()
        if self.scalar:
            self.table.create_scalar_index("shard", index_type="BTREE")
        if self.index:
            config = getattr(lancedb.index, self.index)(distance_type="cosine", **self.options)
            self.table.create_index("vector", config=config)

    def open(self, dims, *, writes=False):
        import lancedb

        self.table = lancedb.connect(self.folder).open_table("bench")

    def search(self, query, k, level):
        found = self.table.search(query).distance_type("cosine").limit(k)
        for name, value in self.probes.items():
            found = getattr(found, name)(value)
        if level != 100:
            found = found.where(f"shard < {level}", prefilter=True)
        return found.select(["id", "shard", "text", "_distance"]).to_arrow()["id"].to_pylist()

    def count(self):
        return self.table.count_rows()

    def close(self):
        self.table = None


class LanceHnswSq(Lance):
    label = "LanceDB 0.40, HNSW-SQ"
    index, options = "HnswSq", {"num_partitions": 1, "m": 20, "ef_construction": 300}
    probes: ClassVar = {"ef": EF_SEARCH, "refine_factor": 4}


class LanceHnswFlat(Lance):
    label = "LanceDB 0.40, HNSW"
    index, options = "HnswFlat", {"num_partitions": 1, "m": 20, "ef_construction": 300}
    probes: ClassVar = {"ef": EF_SEARCH}


class LanceIvfSq(Lance):
    label = "LanceDB 0.40, IVF-SQ"
    index = "IvfSq"
    probes: ClassVar = {"nprobes": 20, "refine_factor": 4}


class LanceIvfPq(Lance):
    label = "LanceDB 0.40, IVF-PQ"
    index = "IvfPq"
    probes: ClassVar = {"nprobes": 20, "refine_factor": 10}


class LanceIvfRq(Lance):
    label = "LanceDB 0.40, IVF-RaBitQ"
    index = "IvfRq"
    probes: ClassVar = {"nprobes": 20, "refine_factor": 10}


class LanceExact(Lance):
    label = "LanceDB 0.40, no index"


class QdrantEdge(Engine):
    label = "Qdrant Edge 0.9, HNSW"

    def create(self, dims):
        import qdrant_edge as q

        vectors = q.EdgeVectorParams(size=dims, distance=q.Distance.Cosine)
        hnsw = q.HnswIndexConfig(M, EF, 1000)
        config = q.EdgeConfig(
            vectors=vectors, hnsw_config=hnsw, optimizers=q.EdgeOptimizersConfig(default_segment_number=1)
        )
        self.shard = q.EdgeShard.create(str(self.folder / "shard"), config)
        self.shard.update(q.UpdateOperation.create_field_index("shard", q.PayloadSchemaType.Integer))

    def open(self, dims, *, writes=False):
        import qdrant_edge as q

        self.shard = q.EdgeShard.load(str(self.folder / "shard"))

    def add(self, first, vectors, shards):
        import qdrant_edge as q

        said = texts(first, len(vectors))
        points = [
            q.Point(first + row, vector, {"shard": int(shard), "text": text})
            for row, (vector, shard, text) in enumerate(zip(vectors.tolist(), shards, said, strict=True))
        ]
        self.shard.update(q.UpdateOperation.upsert_points(points))

    def finish(self):
        self.shard.optimize()
        self.shard.flush()

    def search(self, query, k, level):
        import qdrant_edge as q

        kept = None if level == 100 else q.Filter(must=[q.FieldCondition("shard", range=q.RangeFloat(lt=level))])
        request = q.QueryRequest(
            k,
            query=q.Query.Nearest(query.tolist()),
            filter=kept,
            with_payload=True,
            params=q.SearchParams(hnsw_ef=EF_SEARCH),
        )
        return [point.id for point in self.shard.query(request)]

    def count(self):
        import qdrant_edge as q

        return self.shard.count(q.CountRequest())

    def close(self):
        self.shard.close()


class Zvec(Engine):
    label = "zvec 0.8, HNSW"

    def create(self, dims):
        import zvec

        index = zvec.HnswIndexParam(zvec.MetricType.COSINE, m=M * 2, ef_construction=EF)
        schema = zvec.CollectionSchema(
            "bench",
            fields=[
                zvec.FieldSchema(
                    "shard", zvec.DataType.INT64, index_param=zvec.InvertIndexParam(enable_range_optimization=True)
                ),
                zvec.FieldSchema("text", zvec.DataType.STRING),
            ],
            vectors=zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, dims, index_param=index),
        )
        self.there = zvec.create_and_open(str(self.folder / "bench"), schema)

    def open(self, dims, *, writes=False):
        import zvec

        self.there = zvec.open(str(self.folder / "bench"), zvec.CollectionOption(read_only=not writes))

    def add(self, first, vectors, shards):
        import zvec

        said = texts(first, len(vectors))
        docs = [
            zvec.Doc(str(first + row), vectors={"vector": vector}, fields={"shard": int(shard), "text": text})
            for row, (vector, shard, text) in enumerate(zip(vectors.tolist(), shards, said, strict=True))
        ]
        for start in range(0, len(docs), 1000):
            assert all(status.ok() for status in self.there.upsert(docs[start : start + 1000]))

    def finish(self):
        self.there.optimize()
        self.there.flush()

    def search(self, query, k, level):
        import zvec

        asked = zvec.Query("vector", vector=query.tolist(), param=zvec.HnswQueryParam(ef=EF_SEARCH))
        kept = None if level == 100 else f"shard < {level}"
        return [int(doc.id) for doc in self.there.query(asked, topk=k, filter=kept)]

    def count(self):
        return self.there.stats.doc_count

    def close(self):
        self.there.close()


class SqliteVec(Engine):
    label = "sqlite-vec 0.1.9, exact"

    def open(self, dims, *, writes=False):
        import pysqlite3
        import sqlite_vec

        self.base = pysqlite3.connect(str(self.folder / "bench.db"), timeout=30)
        self.base.enable_load_extension(True)
        sqlite_vec.load(self.base)

    def create(self, dims):
        self.open(dims)
        self.base.execute("pragma journal_mode = wal")
        self.base.execute(
            f"create virtual table bench using vec0(id integer primary key, "
            f"vector float[{dims}] distance_metric=cosine, shard integer, +text text)"
        )

    def add(self, first, vectors, shards):
        said = texts(first, len(vectors))
        rows = (
            (first + n, v.tobytes(), int(s), t) for n, (v, s, t) in enumerate(zip(vectors, shards, said, strict=True))
        )
        self.base.executemany("insert into bench(id, vector, shard, text) values (?, ?, ?, ?)", rows)
        self.base.commit()

    def search(self, query, k, level):
        kept = "" if level == 100 else f" and shard < {level}"
        rows = self.base.execute(
            f"select id, shard, text from bench where vector match ? and k = {k}{kept}", [query.tobytes()]
        )
        return [row[0] for row in rows]

    def count(self):
        return self.base.execute("select count(*) from bench").fetchone()[0]

    def close(self):
        self.base.close()


class DuckDb(Engine):
    label = "DuckDB 1.5 vss, HNSW (its persistence is experimental)"

    def open(self, dims, *, writes=False):
        import duckdb
        import duckdb_extension_vss

        found = next(Path(duckdb_extension_vss.__path__[0]).rglob("*.duckdb_extension"))
        self.base = duckdb.connect(
            str(self.folder / "bench.duckdb"), config={"allow_unsigned_extensions": True, "threads": 2}
        )
        self.base.execute(f"load '{found}'")
        self.base.execute("set hnsw_enable_experimental_persistence = true")
        self.base.execute(f"set hnsw_ef_search = {EF_SEARCH}")
        self.dims = dims

    def create(self, dims):
        self.open(dims)
        self.base.execute(
            f"create table bench(id bigint primary key, vector float[{dims}], shard bigint, text varchar)"
        )

    def add(self, first, vectors, shards):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        ids = np.arange(first, first + len(vectors))
        rows = pa.table({"id": ids, "vector": flat, "shard": shards, "text": texts(first, len(ids))})
        self.base.register("rows", rows)
        self.base.execute("insert into bench select * from rows")

    def finish(self):
        self.base.execute(
            f"create index near on bench using hnsw (vector) with (metric = 'cosine', m = {M}, ef_construction = {EF})"
        )
        self.base.execute("checkpoint")

    def search(self, query, k, level):
        kept = "" if level == 100 else f"where shard < {level}"
        sql = f"select id, shard, text from bench {kept} order by array_cosine_distance(vector, ?::float[{self.dims}]) limit {k}"
        return [row[0] for row in self.base.execute(sql, [query.tolist()]).fetchall()]

    def count(self):
        return self.base.execute("select count(*) from bench").fetchone()[0]

    def close(self):
        self.base.close()


class Chroma(Engine):
    label = "Chroma 1.5.9, HNSW"

    def open(self, dims, *, writes=False):
        import chromadb

        client = chromadb.PersistentClient(str(self.folder), settings=chromadb.Settings(anonymized_telemetry=False))
        settings = {"hnsw": {"space": "cosine", "max_neighbors": M, "ef_construction": EF, "ef_search": EF_SEARCH}}
        self.there = client.get_or_create_collection("bench", configuration=settings, embedding_function=None)

    def create(self, dims):
        self.open(dims)

    def add(self, first, vectors, shards):
        ids = [str(row) for row in range(first, first + len(vectors))]
        said = [{"shard": int(shard), "text": text} for shard, text in zip(shards, texts(first, len(ids)), strict=True)]
        self.there.upsert(ids=ids, embeddings=vectors, metadatas=said)

    def search(self, query, k, level):
        kept = None if level == 100 else {"shard": {"$lt": level}}
        found = self.there.query(query_embeddings=[query], n_results=k, where=kept, include=["metadatas", "distances"])
        return [int(name) for name in found["ids"][0]]

    def count(self):
        return self.there.count()


class Numpy(Engine):
    label = "NumPy, exact (the yardstick)"
    keeps_records = False

    def create(self, dims):
        self.vectors, self.shards = [], []

    def add(self, first, vectors, shards):
        self.vectors.append(vectors)
        self.shards.append(shards)

    def finish(self):
        np.save(self.folder / "vectors.npy", np.concatenate(self.vectors))
        np.save(self.folder / "shards.npy", np.concatenate(self.shards))

    def open(self, dims, *, writes=False):
        self.vectors, self.shards = np.load(self.folder / "vectors.npy"), np.load(self.folder / "shards.npy")

    def search(self, query, k, level):
        rows = np.flatnonzero(self.shards < level)
        scores = (self.vectors if level == 100 else self.vectors[rows]) @ query
        return rows[np.argpartition(-scores, k)[:k]].tolist()


class Usearch(Numpy):
    label = "usearch 2.26, HNSW float16 (filters by the caller)"

    def create(self, dims):
        from usearch.index import Index

        self.index, self.shards = (
            Index(ndim=dims, metric="cos", dtype="f16", connectivity=M, expansion_add=EF, expansion_search=EF_SEARCH),
            [],
        )

    def add(self, first, vectors, shards):
        self.index.add(np.arange(first, first + len(vectors)), vectors, threads=2)
        self.shards.append(shards)

    def finish(self):
        self.index.save(self.folder / "index")
        np.save(self.folder / "shards.npy", np.concatenate(self.shards))

    def open(self, dims, *, writes=False):
        from usearch.index import Index

        self.index = Index.restore(self.folder / "index", view=True)
        self.index.expansion_search = EF_SEARCH
        self.shards = np.load(self.folder / "shards.npy")

    def search(self, query, k, level):
        # It knows no filters: the caller asks for more and keeps what matches.
        found = self.index.search(query, min(k * 100 // level * 2, 2000) if level < 100 else k, threads=1).keys
        return found[self.shards[found] < level][:k].tolist()


class Faiss(Numpy):
    label = "faiss 1.15, HNSW float32"

    def create(self, dims):
        import faiss

        faiss.omp_set_num_threads(2)
        self.index = faiss.IndexHNSWFlat(dims, M * 2, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = EF
        self.shards = []

    def add(self, first, vectors, shards):
        self.index.add(vectors)
        self.shards.append(shards)

    def finish(self):
        import faiss

        faiss.write_index(self.index, str(self.folder / "index"))
        np.save(self.folder / "shards.npy", np.concatenate(self.shards))

    def open(self, dims, *, writes=False):
        import faiss

        faiss.omp_set_num_threads(1)
        self.index = faiss.read_index(str(self.folder / "index"))
        self.shards = np.load(self.folder / "shards.npy")
        bitmaps = {level: np.packbits(self.shards < level, bitorder="little") for level in LEVELS}
        self.kept = {
            level: faiss.SearchParametersHNSW(efSearch=EF_SEARCH, sel=faiss.IDSelectorBitmap(bits))
            for level, bits in bitmaps.items()
        }
        self.kept[100] = faiss.SearchParametersHNSW(efSearch=EF_SEARCH)
        self.bitmaps = bitmaps

    def search(self, query, k, level):
        return self.index.search(query[None], k, params=self.kept[level])[1][0].tolist()


ENGINES: dict[str, type[Engine]] = {
    "numpy": Numpy,
    "umekomi-lance": UmekomiLance,
    "umekomi-lance-few": UmekomiLanceFew,
    "umekomi-edge": UmekomiEdge,
    "lance-hnsw-sq": LanceHnswSq,
    "lance-hnsw": LanceHnswFlat,
    "lance-ivf-sq": LanceIvfSq,
    "lance-ivf-pq": LanceIvfPq,
    "lance-ivf-rq": LanceIvfRq,
    "lance-exact": LanceExact,
    "qdrant-edge": QdrantEdge,
    "zvec": Zvec,
    "sqlite-vec": SqliteVec,
    "duckdb": DuckDb,
    "chroma": Chroma,
    "usearch": Usearch,
    "faiss": Faiss,
}
