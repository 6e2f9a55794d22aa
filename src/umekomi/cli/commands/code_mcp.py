"""``umekomi code mcp``: the index as tools of the Model Context Protocol, by its official SDK."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ... import __version__
from ...codesearch.index import CodeIndexer
from ...codesearch.search import MIN_SIMILARITY, CodeHit, CodeIndex
from ...embedder import Embedder
from ...errors import UmekomiError
from ...extras import needed_for
from ..output import echo_err

with needed_for("The MCP server"):
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

T = TypeVar("T")

INSTRUCTIONS = (
    "Finds source code and prose of this repository by meaning. Ask search_code a question in plain words; ask similar_code for "
    "look-alikes of a place. Each hit names file and lines: open the file before you rely on it, as it may have changed since."
)
MAX_HITS = 50


def create(folder: Path, *, update: bool, embedder: Callable[[str], Embedder]) -> MCPServer:
    """The server of one index. ``update`` brings the index up to date before each answer."""
    index = CodeIndex(folder, embedder=embedder)
    indexer = CodeIndexer(folder, embedder=embedder, report=echo_err, wait_s=600.0)
    turn = threading.Lock()
    server = MCPServer("umekomi-code", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    def answer(ask: Callable[[], T]) -> T:
        with turn:
            try:
                if update:
                    indexer.update()
                return ask()
            except UmekomiError as error:
                raise ToolError(str(error)) from error

    @server.tool(annotations=reading)
    def search_code(
        query: str,
        n: int = 5,
        lang: list[str] | None = None,
        path: list[str] | None = None,
        kind: list[str] | None = None,
    ) -> list[CodeHit]:
        """Find functions, methods, classes and sections of prose by a question in plain words, best first.

        lang: only these languages, as python. path: only files that match these .gitignore patterns, as src/ or *.py.
        kind: only function, method, class, module, section or window.
        """
        count = max(1, min(n, MAX_HITS))
        return answer(lambda: index.search(query, n=count, langs=lang or (), paths=path or (), kinds=kind or ()))

    @server.tool(annotations=reading)
    def similar_code(file: str, line: int, n: int = 5) -> list[CodeHit]:
        """Find what looks like the function, class or section at a line of a file.

        A relative file is below the folder that the index is in.
        """
        place = index.folder.parent / file
        return answer(lambda: index.similar(place, line, n=max(1, min(n, MAX_HITS))))

    @server.tool(annotations=reading)
    def duplicate_code(at_least: float = MIN_SIMILARITY, path: list[str] | None = None) -> list[dict[str, object]]:
        """List groups of functions that are near-copies, largest group first; at_least is the share of words in common."""
        groups = answer(lambda: index.duplicates(alike=at_least, paths=path or ()))
        return [
            {"alike": group.alike, "places": [f"{chunk.path}:{chunk.start} {chunk.name}" for chunk in group.chunks]}
            for group in groups[:MAX_HITS]
        ]

    @server.tool(annotations=reading)
    def code_index_info() -> dict[str, object]:
        """What the index holds: its folders, files by language, chunks and model."""
        return answer(index.info)

    return server


def serve(folder: Path, *, update: bool, embedder: Callable[[str], Embedder] = Embedder) -> None:
    """Answer on standard input and output until the client goes away."""
    server = create(folder, update=update, embedder=embedder)
    echo_err(f"Answering for the index in {folder} over the Model Context Protocol; standard input is the client's.")
    server.run("stdio")
