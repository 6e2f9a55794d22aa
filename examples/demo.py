"""Search the documentation of Python's standard library by meaning: real text that is on every machine with Python.

Run it with ``make demo``. The second run finds its work done and only searches.
"""

import ast
import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from umekomi import DEFAULT_MODEL, Embedder, open_store, search

FOLDER = Path("demo")
QUESTIONS = [
    "read a comma separated file",
    "wait until several threads have finished",
    "delete a directory and everything in it",
]
SKIPPED = {
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "turtledemo",
    "ensurepip",
    "__pycache__",
}


def docstrings() -> Iterator[dict[str, str]]:
    """Every public module, class and function of the standard library that says what it does."""
    yield from _written_in_python()
    yield from _written_in_c()


def _written_in_python() -> Iterator[dict[str, str]]:
    """Read from the source, without importing anything."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        module = path.relative_to(root).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        if SKIPPED & set(module.split(".")) or any(part.startswith("_") for part in module.split(".")):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):
            continue
        about = ast.get_docstring(tree) or ""
        if len(about) >= 20:
            yield {"name": module, "text": f"{module}: {about[:600]}"}
        yield from _documented(tree, module)


def _documented(node: ast.AST, name: str) -> Iterator[dict[str, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            full = f"{name}.{child.name}"
            document = ast.get_docstring(child) or ""
            if len(document) >= 20:
                yield {"name": full, "text": f"{full}: {document[:600]}"}
            if isinstance(child, ast.ClassDef):
                yield from _documented(child, full)


def _written_in_c() -> Iterator[dict[str, str]]:
    """Modules without a source, as csv's reader: imported, as they have no effect beyond being there."""
    for name in sorted(sys.stdlib_module_names):
        public = name.lstrip("_")
        if public not in sys.stdlib_module_names or public.startswith(
            ("test", "xx", "tkinter", "curses", "msi", "win")
        ):
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or (spec.origin or "").endswith((".py", "frozen")):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        known = {
            public: module,
            **{f"{public}.{key}": value for key, value in vars(module).items() if not key.startswith("_")},
        }
        for full, value in known.items():
            document = inspect.getdoc(value) or ""
            if len(document) >= 20 and (inspect.ismodule(value) or inspect.isroutine(value) or inspect.isclass(value)):
                yield {"name": full, "text": f"{full}: {document[:600]}"}


def build(store: str) -> None:
    """Embed the docstrings and load them into a store. What an earlier run has finished is not done again."""
    FOLDER.mkdir(exist_ok=True)
    source, embedded = FOLDER / "stdlib.jsonl", FOLDER / "stdlib.parquet"
    if not source.exists():
        source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in docstrings()), "utf-8")
    if not embedded.exists():
        print(f"1. Embedding docstrings with {DEFAULT_MODEL}: texts -> {embedded}", file=sys.stderr)
        umekomi("embed", str(source), "-o", str(embedded), "--role", "document", "--resume")
    print(f"2. Loading them into a store: {store}", file=sys.stderr)
    umekomi("store", "load", str(embedded), store, "--resume")


def umekomi(*arguments: str) -> None:
    """Run a command of Umekomi, and stop where it fails."""
    try:
        status = subprocess.run([sys.executable, "-m", "umekomi", *arguments], check=False).returncode
    except KeyboardInterrupt:
        status = 130
    if status:
        sys.exit(status)


def main() -> None:
    url = f"lance://{FOLDER}/stdlib"
    build(url)
    store, embedder = open_store(url), Embedder(DEFAULT_MODEL)
    print(f"3. Searching {store.count():,} docstrings by meaning", file=sys.stderr)
    for question in QUESTIONS:
        began = time.perf_counter()
        hits = search(store, embedder, [question], n=3)[0]
        print(f"\n{question}?   ({(time.perf_counter() - began) * 1000:.0f} ms)")
        for hit in hits:
            first_line = str(hit.record["text"]).split(": ", 1)[1].strip().splitlines()[0]
            print(f"  {hit.score:.3f}  {hit.record['name']:<42} {first_line[:80]}")
    print(f"\nAsk your own:  .venv/bin/umekomi search lance://{FOLDER}/stdlib 'parse a date'")


if __name__ == "__main__":
    main()
