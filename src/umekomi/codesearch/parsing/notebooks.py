"""Jupyter notebooks: the code and Markdown cells, without outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...tokens import well_formed
from .chunks import Chunk
from .languages import GRAMMARS, OTHER_EXTENSIONS

_LANGUAGES = {
    "python2": "python", "python3": "python", "ipython": "python", "ipython2": "python", "ipython3": "python",
    "sagemath": "python", "js": "javascript", "node": "javascript", "ts": "typescript", "csharp": "c#", "cpp": "c++",
    "sh": "bash", "shell": "bash", "script": "bash", "zsh": "bash", "pwsh": "powershell", "svg": "html", "latex": "prose",
    "markdown": "prose",
}  # fmt: skip
_SUPPORTED = {"python", "prose", *GRAMMARS, *OTHER_EXTENSIONS.values()}
_MAGIC = re.compile(r"^([ \t]*)([%!?]|[\w.]+\?{1,2}\s*$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """A code or Markdown cell.

    Attributes:
        number: Position among all cells of the notebook, from 1.
        line: Line of the notebook's text on which the cell starts, from 1.
        language: Language of the cell, ``prose`` for Markdown.
        text: Source of the cell.
    """

    number: int
    line: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Notebook:
    """The non-empty cells of a notebook, and the language of its code."""

    language: str
    cells: tuple[Cell, ...]

    @property
    def text(self) -> str:
        """The sources of all cells, concatenated. Line numbers refer to this text."""
        return "\n".join(cell.text for cell in self.cells)


def parse_notebook(data: bytes) -> Notebook:
    """Read a notebook of format 3 or 4, in UTF-8.

    Raises:
        ValueError: The bytes are not JSON, or not a notebook. The message describes the problem.
    """
    try:
        document = json.loads(data)
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8") from error
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise ValueError("its JSON is not an object")
    language = _detect_language(document.get("metadata"))
    cells: list[Cell] = []
    line = 1
    for number, cell in enumerate(_read_cells(document), start=1):
        if not isinstance(cell, dict):
            raise ValueError(f"cell {number} is not an object")
        cell_type = cell.get("cell_type")
        # In format 3, code is in `input`, and headings are separate cells with a level.
        text = _read_text(cell.get("source", cell.get("input")), number)
        if cell_type == "heading":
            level = cell.get("level")
            text = f"{'#' * (level if isinstance(level, int) and 1 <= level <= 6 else 1)} {text}"
        if cell_type not in ("code", "markdown", "heading") or not text.strip():
            continue
        cell_language = (_detect_cell_language(cell) or language) if cell_type == "code" else "prose"
        cells.append(Cell(number, line, cell_language, text))
        line += text.count("\n") + 1
    return Notebook(language, tuple(cells))


def _read_cells(document: dict[str, Any]) -> list[Any]:
    worksheets = document.get("worksheets")
    if "cells" not in document and isinstance(worksheets, list):
        parts = [sheet.get("cells", []) if isinstance(sheet, dict) else None for sheet in worksheets]
    else:
        parts = [document.get("cells")]
    cells: list[Any] = []
    for part in parts:
        if not isinstance(part, list):
            raise ValueError("it has no list of cells")
        cells.extend(part)
    return cells


def _read_text(source: object, number: int) -> str:
    if source is None:
        return ""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise ValueError(f"the source of cell {number} is neither text nor a list of lines")
    return well_formed(source).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").rstrip("\n")


def _detect_language(metadata: object) -> str:
    """Return the language of the code. Versions of Jupyter and other tools store it under different keys."""
    sections = metadata if isinstance(metadata, dict) else {}
    for section, key in (("language_info", "name"), ("kernelspec", "language"), ("kernelspec", "name")):
        part = sections.get(section)
        value = part.get(key) if isinstance(part, dict) else None
        if isinstance(value, str) and (name := _normalize_language(value)):
            return name
    return "python"


def _detect_cell_language(cell: dict[str, Any]) -> str:
    metadata = cell.get("metadata")
    vscode = metadata.get("vscode") if isinstance(metadata, dict) else None
    for value in (cell.get("language"), vscode.get("languageId") if isinstance(vscode, dict) else None):
        if isinstance(value, str) and (name := _normalize_language(value)):
            return name
    return ""


def _normalize_language(name: str) -> str:
    """Return our name of a language for a name that notebooks use, or an empty string if it is not supported."""
    name = name.strip().lower().removeprefix(".net-")
    name = _LANGUAGES.get(name, name)
    if name not in _SUPPORTED:
        name = "c++" if re.match(r"(x?cpp|c\+\+)\d+", name) else "julia" if name.startswith("julia") else ""
    return name


def apply_cell_magic(cell: Cell) -> Cell:
    """Return a cell without the ``%%`` line at its start, in the language that it names, such as ``%%bash``."""
    first, _, rest = cell.text.lstrip().partition("\n")
    words = first.removeprefix("%%").split()
    if cell.language != "python" or not first.startswith("%%") or not words:
        return cell
    blank = cell.text[: len(cell.text) - len(cell.text.lstrip())]
    return replace(cell, language=_normalize_language(words[0]) or "python", text=f"{blank}\n{rest}")


def comment_out_magics(text: str) -> str:
    """Return the code of a Python cell with lines that only IPython supports (``%run``, ``!pip``, ``name?``) as comments."""
    return _MAGIC.sub(r"\1# \2", text)


def move_to_notebook(chunks: Iterable[Chunk], cell: Cell) -> Iterator[Chunk]:
    """Yield the chunks of a cell with their lines in the notebook, the number of the cell and its language."""
    for chunk in chunks:
        start, end = (line + cell.line - 1 for line in (chunk.start, chunk.end))
        yield replace(chunk, start=start, end=end, lang=cell.language, cell=cell.number)
