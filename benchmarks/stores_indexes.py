"""Indexes without records that benchmarks/stores.py compares: NumPy, usearch and faiss."""

import numpy as np

from stores_engine import EF, EF_SEARCH, LEVELS, Engine, M


class Numpy(Engine):
    label = "NumPy, exact (baseline)"
    stores_records = False

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
    label = "usearch 2.26, HNSW float16 (filtered by the caller)"

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
        # usearch has no filters, so more hits are requested and filtered afterwards.
        hits = self.index.search(query, min(k * 100 // level * 2, 2000) if level < 100 else k, threads=1).keys
        return hits[self.shards[hits] < level][:k].tolist()


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
        self.parameters = {
            level: faiss.SearchParametersHNSW(efSearch=EF_SEARCH, sel=faiss.IDSelectorBitmap(bits))
            for level, bits in bitmaps.items()
        }
        self.parameters[100] = faiss.SearchParametersHNSW(efSearch=EF_SEARCH)
        self.bitmaps = bitmaps  # the parameters refer to them

    def search(self, query, k, level):
        return self.index.search(query[None], k, params=self.parameters[level])[1][0].tolist()
