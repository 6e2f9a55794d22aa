"""Calls that type checkers must reject, each on a line of its own. Read by mypy and pyright, never run."""

from umekomi import Embedder, open_store, search

embedder = Embedder("umekomi-fake")
numbers = [1.5]

embedder.embed("one text")
embedder.embed({"a": "one text"})
embedder.embed({"one text"})
embedder.embed(7)
embedder.embed(None)
embedder.embed(numbers)
embedder.prepare("one text")
embedder.embed(["one text"], "query")
search(open_store("memory://x"), embedder, "one text")
