"""``umekomi code mcp``: serve a code index over the Model Context Protocol, with its official SDK."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .... import __version__
from ....codesearch.index import CodeIndexer
from ....codesearch.search import MIN_SIMILARITY, CodeHit, CodeIndex
from ....embedder import Embedder
from ....errors import UmekomiError
from ....extras import needed_for
from ...output import echo_err
from ...status_line import status_line

with needed_for("The MCP server"):
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations

Result = TypeVar("Result")

INSTRUCTIONS = (
    "Finds source code and prose of this repository by meaning. Use search_code with a description in plain words, and "
    "similar_code to find code that is similar to a line of a file. Each hit has a file and lines: read the file before you "
    "rely on a hit, because it may have changed."
)
MAX_HITS = 50


def create(folder: Path, *, update: bool, embedder: Callable[[str], Embedder]) -> MCPServer:
    """Create the server of an index. ``update`` updates the index before each response."""
    index = CodeIndex(folder, embedder=embedder)
    indexer = CodeIndexer(folder, embedder=embedder, report=echo_err, wait_s=600.0)
    lock = threading.Lock()
    server = MCPServer("umekomi-code", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    read_only = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    def run(query: Callable[[], Result]) -> Result:
        with lock:
            try:
                if update:
                    indexer.update()
                return query()
            except UmekomiError as error:
                raise ToolError(str(error)) from error

    @server.tool(annotations=read_only)
    def search_code(
        query: str,
        n: int = 5,
        lang: list[str] | None = None,
        path: list[str] | None = None,
        kind: list[str] | None = None,
    ) -> list[CodeHit]:
        """Find functions, methods, classes and sections of prose by a description in plain words, best hits first.

        lang: only these languages, such as python. path: only files that match these .gitignore patterns, such as src/ or *.py.
        kind: only function, method, class, module, section or window.
        """
        count = max(1, min(n, MAX_HITS))
        return run(lambda: index.search(query, n=count, langs=lang or (), paths=path or (), kinds=kind or ()))

    @server.tool(annotations=read_only)
    def similar_code(file: str, line: int, n: int = 5) -> list[CodeHit]:
        """Find code that is similar to the function, class or section at a line of a file.

        A relative path is relative to the folder that contains the index.
        """
        path = index.folder.parent / file
        return run(lambda: index.similar(path, line, n=max(1, min(n, MAX_HITS))))

    @server.tool(annotations=read_only)
    def duplicate_code(at_least: float = MIN_SIMILARITY, path: list[str] | None = None) -> list[dict[str, object]]:
        """List groups of near-duplicate functions, largest first. at_least is the minimum share of words in common."""
        groups = run(lambda: index.duplicates(alike=at_least, paths=path or ()))
        return [
            {"alike": group.alike, "locations": [f"{chunk.path}:{chunk.start} {chunk.name}" for chunk in group.chunks]}
            for group in groups[:MAX_HITS]
        ]

    @server.tool(annotations=read_only)
    def code_index_info() -> dict[str, object]:
        """Show the folders, languages, chunks and model of the index."""
        return run(index.info)

    return server


def serve(folder: Path, *, update: bool, embedder: Callable[[str], Embedder] = Embedder) -> None:
    """Serve on standard input and output until the client disconnects."""
    server = create(folder, update=update, embedder=embedder)
    echo_err(f"Serving the index {folder} over the Model Context Protocol on standard input and output.")
    status_line.end()
    server.run("stdio")
