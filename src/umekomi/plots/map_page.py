"""A map as one page of HTML that needs nothing else: no network, no library; it opens offline and years later."""

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
from .colors import Colouring

_TEXT = 300


def write_page(
    points: FloatArray,
    colouring: Colouring,
    path: str | Path,
    *,
    texts: Sequence[str],
    title: str = "Map",
    labels: Sequence[str] = (),
    note: str = "",
) -> None:
    """Write an interactive map: drag, zoom, turn (in three dimensions), hover for a text, click the legend to hide a group.

    Args:
        points: ``(n, 2)`` or ``(n, 3) float32``.
        colouring: of the ``n`` points.
        path: the file to write.
        texts: ``n`` texts, each cut at 300 characters.
        title: of the page.
        labels: written at the middle of the groups of those places.
        note: a line at the foot.

    Raises:
        InputError: the lengths differ, or the file cannot be written.
    """
    if not len(points) == len(texts) == len(colouring.group):
        raise InputError("A map needs as many points, texts and colours.")
    page = page_of(points, colouring, texts=texts, title=title, labels=labels, note=note)
    write_text(path, page)


def page_of(
    points: FloatArray,
    colouring: Colouring,
    *,
    texts: Sequence[str],
    title: str,
    labels: Sequence[str] = (),
    note: str = "",
) -> str:
    """The page of :func:`write_page` as text. Its policy lets only its own script and style run, and nothing be fetched."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    centred = ((points - (low + high) / 2) / span * 2).astype("<f4")
    group = np.array(colouring.group)
    middles = [
        {"text": label, "group": place, "at": [float(x) for x in np.median(centred[group == place], axis=0)]}
        for place, label in enumerate(labels)
        if label and (group == place).any()
    ]
    facts = {
        "dimensions": int(points.shape[1]),
        "points": base64.b64encode(np.ascontiguousarray(centred).tobytes()).decode("ascii"),
        "group": [int(place) for place in colouring.group],
        "legend": [
            {"name": name, "colour": colour} for name, colour in zip(colouring.names, colouring.colours, strict=True)
        ],
        "legendTitle": colouring.title,
        "labels": middles,
        "texts": [" ".join(text[: _TEXT + 1].split())[:_TEXT] + ("…" if len(text) > _TEXT else "") for text in texts],
    }
    # Within <script type="application/json"> only "<" could end the element; as < it cannot.
    data = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
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
        f'<script id="facts" type="application/json">{data}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
