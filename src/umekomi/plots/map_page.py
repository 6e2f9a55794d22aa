"""A map as one HTML page that needs no network and no library, so that it still opens years later."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files.outputs import write_text
from ..vectors.arithmetic import FloatArray
from .colors import Coloring

_MAX_TEXT = 300


def write_page(
    points: FloatArray,
    coloring: Coloring,
    path: str | Path,
    *,
    texts: Sequence[str],
    title: str = "Map",
    labels: Sequence[str] = (),
    note: str = "",
) -> None:
    """Write an interactive map: drag, zoom, rotate (in three dimensions), hover for a text, click the legend to hide a
    group.

    The page's policy allows only its own script and style, and no requests.

    Args:
        points: ``(n, 2)`` or ``(n, 3) float32``.
        coloring: Colors of the ``n`` points.
        path: File to write.
        texts: The ``n`` texts, each truncated to 300 characters.
        title: Title of the page.
        labels: Labels of the coloring's groups, drawn at the median of each group.
        note: Text of the footer.

    Raises:
        InputError: The lengths differ, or the file cannot be written.
    """
    if not len(points) == len(texts) == len(coloring.group):
        raise InputError("A map needs the same number of points, texts and colors.")
    write_text(path, _render(_page_data(points, coloring, texts, labels), title, note))


def page_footer(model: str, details: str = "") -> str:
    """Return the footer of a map: the model of the vectors, further details, and how to use the page."""
    separator = ", " if details else ""
    return f"Made by Umekomi with {model} (its own vectors, not OpenAI's){separator}{details}. Drag, scroll, hover."


def _page_data(
    points: FloatArray, coloring: Coloring, texts: Sequence[str], labels: Sequence[str]
) -> dict[str, object]:
    """Return the data that the script of the page reads."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    centered = ((points - (low + high) / 2) / span * 2).astype("<f4")
    group = np.array(coloring.group)
    return {
        "dimensions": int(points.shape[1]),
        "points": base64.b64encode(np.ascontiguousarray(centered).tobytes()).decode("ascii"),
        "group": group.tolist(),
        "legend": [{"name": name, "color": color} for name, color in zip(coloring.names, coloring.colors, strict=True)],
        "legendTitle": coloring.title,
        "labels": [
            {"text": label, "group": index, "at": np.median(centered[group == index], axis=0).tolist()}
            for index, label in enumerate(labels)
            if label and (group == index).any()
        ],
        "texts": [
            " ".join(text[: _MAX_TEXT + 1].split())[:_MAX_TEXT] + ("…" if len(text) > _MAX_TEXT else "")
            for text in texts
        ],
    }


def _render(page_data: dict[str, object], title: str, note: str) -> str:
    # Within <script type="application/json"> only "<" could end the element. Escaped, it cannot.
    data = json.dumps(page_data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    folder = resources.files(__package__)
    style = (folder / "map_page.css").read_text("utf-8")
    script = (folder / "map_page.js").read_text("utf-8")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    heading = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{heading}</title>\n'
        f"<style>{style}</style>\n</head>\n<body>\n"
        f'<header><h1>{heading}</h1><p id="count"></p></header>\n'
        f'<main><canvas id="map" tabindex="0" role="img" aria-label="{heading}"></canvas>'
        f'<aside><h2 id="legend-title"></h2><ul id="legend"></ul>'
        f'<label>Find <input id="find" type="search" placeholder="a word" autocomplete="off"></label>'
        f'<button id="reset" type="button">Whole map</button></aside><div id="tip" hidden></div></main>\n'
        f"<footer>{html.escape(note)}</footer>\n"
        f'<script id="data" type="application/json">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
