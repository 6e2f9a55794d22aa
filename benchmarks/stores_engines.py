"""Engines that benchmarks/stores.py compares, used as their documentation advises."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from stores_engine import EF, EF_SEARCH, Engine, M, make_texts
from stores_indexes import Faiss, Numpy, Usearch


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
        self.store.upsert(ids, vectors, pa.table({"shard": shards, "text": make_texts(first, len(ids))}))

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


class UmekomiLanceSmallEf(Umekomi):
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
        data = pa.table({"id": ids, "vector": flat, "shard": shards, "text": make_texts(first, len(ids))})
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
        search = self.table.search(query).distance_type("cosine").limit(k)
        for name, value in self.probes.items():
            search = getattr(search, name)(value)
        if level != 100:
            search = search.where(f"shard < {level}", prefilter=True)
        return search.select(["id", "shard", "text", "_distance"]).to_arrow()["id"].to_pylist()

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

        texts = make_texts(first, len(vectors))
        points = [
            q.Point(first + row, vector, {"shard": int(shard), "text": text})
            for row, (vector, shard, text) in enumerate(zip(vectors.tolist(), shards, texts, strict=True))
        ]
        self.shard.update(q.UpdateOperation.upsert_points(points))

    def finish(self):
        self.shard.optimize()
        self.shard.flush()

    def search(self, query, k, level):
        import qdrant_edge as q

        condition = None if level == 100 else q.Filter(must=[q.FieldCondition("shard", range=q.RangeFloat(lt=level))])
        request = q.QueryRequest(
            k,
            query=q.Query.Nearest(query.tolist()),
            filter=condition,
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
        self.collection = zvec.create_and_open(str(self.folder / "bench"), schema)

    def open(self, dims, *, writes=False):
        import zvec

        self.collection = zvec.open(str(self.folder / "bench"), zvec.CollectionOption(read_only=not writes))

    def add(self, first, vectors, shards):
        import zvec

        texts = make_texts(first, len(vectors))
        docs = [
            zvec.Doc(str(first + row), vectors={"vector": vector}, fields={"shard": int(shard), "text": text})
            for row, (vector, shard, text) in enumerate(zip(vectors.tolist(), shards, texts, strict=True))
        ]
        for start in range(0, len(docs), 1000):
            assert all(status.ok() for status in self.collection.upsert(docs[start : start + 1000]))

    def finish(self):
        self.collection.optimize()
        self.collection.flush()

    def search(self, query, k, level):
        import zvec

        request = zvec.Query("vector", vector=query.tolist(), param=zvec.HnswQueryParam(ef=EF_SEARCH))
        condition = None if level == 100 else f"shard < {level}"
        return [int(doc.id) for doc in self.collection.query(request, topk=k, filter=condition)]

    def count(self):
        return self.collection.stats.doc_count

    def close(self):
        self.collection.close()


class SqliteVec(Engine):
    label = "sqlite-vec 0.1.9, exact"

    def open(self, dims, *, writes=False):
        import pysqlite3
        import sqlite_vec

        self.connection = pysqlite3.connect(str(self.folder / "bench.db"), timeout=30)
        self.connection.enable_load_extension(True)
        sqlite_vec.load(self.connection)

    def create(self, dims):
        self.open(dims)
        self.connection.execute("pragma journal_mode = wal")
        self.connection.execute(
            f"create virtual table bench using vec0(id integer primary key, "
            f"vector float[{dims}] distance_metric=cosine, shard integer, +text text)"
        )

    def add(self, first, vectors, shards):
        texts = make_texts(first, len(vectors))
        rows = (
            (first + n, v.tobytes(), int(s), t) for n, (v, s, t) in enumerate(zip(vectors, shards, texts, strict=True))
        )
        self.connection.executemany("insert into bench(id, vector, shard, text) values (?, ?, ?, ?)", rows)
        self.connection.commit()

    def search(self, query, k, level):
        condition = "" if level == 100 else f" and shard < {level}"
        rows = self.connection.execute(
            f"select id, shard, text from bench where vector match ? and k = {k}{condition}", [query.tobytes()]
        )
        return [row[0] for row in rows]

    def count(self):
        return self.connection.execute("select count(*) from bench").fetchone()[0]

    def close(self):
        self.connection.close()


class DuckDb(Engine):
    label = "DuckDB 1.5 vss, HNSW (its persistence is experimental)"

    def open(self, dims, *, writes=False):
        import duckdb
        import duckdb_extension_vss

        extension = next(Path(duckdb_extension_vss.__path__[0]).rglob("*.duckdb_extension"))
        self.connection = duckdb.connect(
            str(self.folder / "bench.duckdb"), config={"allow_unsigned_extensions": True, "threads": 2}
        )
        self.connection.execute(f"load '{extension}'")
        self.connection.execute("set hnsw_enable_experimental_persistence = true")
        self.connection.execute(f"set hnsw_ef_search = {EF_SEARCH}")
        self.dims = dims

    def create(self, dims):
        self.open(dims)
        self.connection.execute(
            f"create table bench(id bigint primary key, vector float[{dims}], shard bigint, text varchar)"
        )

    def add(self, first, vectors, shards):
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
        ids = np.arange(first, first + len(vectors))
        rows = pa.table({"id": ids, "vector": flat, "shard": shards, "text": make_texts(first, len(ids))})
        self.connection.register("rows", rows)
        self.connection.execute("insert into bench select * from rows")

    def finish(self):
        self.connection.execute(
            f"create index near on bench using hnsw (vector) with (metric = 'cosine', m = {M}, ef_construction = {EF})"
        )
        self.connection.execute("checkpoint")

    def search(self, query, k, level):
        condition = "" if level == 100 else f"where shard < {level}"
        order = f"order by array_cosine_distance(vector, ?::float[{self.dims}]) limit {k}"
        sql = f"select id, shard, text from bench {condition} {order}"
        return [row[0] for row in self.connection.execute(sql, [query.tolist()]).fetchall()]

    def count(self):
        return self.connection.execute("select count(*) from bench").fetchone()[0]

    def close(self):
        self.connection.close()


class Chroma(Engine):
    label = "Chroma 1.5.9, HNSW"

    def open(self, dims, *, writes=False):
        import chromadb

        client = chromadb.PersistentClient(str(self.folder), settings=chromadb.Settings(anonymized_telemetry=False))
        settings = {"hnsw": {"space": "cosine", "max_neighbors": M, "ef_construction": EF, "ef_search": EF_SEARCH}}
        self.collection = client.get_or_create_collection("bench", configuration=settings, embedding_function=None)

    def create(self, dims):
        self.open(dims)

    def add(self, first, vectors, shards):
        ids = [str(row) for row in range(first, first + len(vectors))]
        texts = [
            {"shard": int(shard), "text": text} for shard, text in zip(shards, make_texts(first, len(ids)), strict=True)
        ]
        self.collection.upsert(ids=ids, embeddings=vectors, metadatas=texts)

    def search(self, query, k, level):
        condition = None if level == 100 else {"shard": {"$lt": level}}
        hits = self.collection.query(
            query_embeddings=[query], n_results=k, where=condition, include=["metadatas", "distances"]
        )
        return [int(name) for name in hits["ids"][0]]

    def count(self):
        return self.collection.count()


ENGINES: dict[str, type[Engine]] = {
    "numpy": Numpy,
    "umekomi-lance": UmekomiLance,
    "umekomi-lance-ef125": UmekomiLanceSmallEf,
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
