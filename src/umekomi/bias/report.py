"""Self-contained HTML reports about the bias of models. Needs ``umekomi[tasks]``."""

from __future__ import annotations

import io
import tomllib
import warnings
from collections.abc import Sequence
from datetime import date
from functools import cache
from html import escape
from importlib import resources

import matplotlib
from matplotlib.figure import Figure

from .. import __version__
from ..catalog import NOT_OPENAI
from ..plots.fonts import use_installed_fonts
from .seat import Effect, PermutationUnit, SeatResult
from .winogender import WinogenderResult

BLUE, ORANGE, GRAY = "#0072b2", "#d55e00", "#7a7a7a"
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_STRIPS = 3


@cache
def _words() -> dict[str, str]:
    return tomllib.loads(resources.files(__package__).joinpath("report.toml").read_text("utf-8"))


def seat_page(result: SeatResult) -> str:
    """Return a page about one model: effects with intervals, the words behind the largest ones, and advice."""
    words = _words()
    social = [effect for effect in result.effects if effect.social]
    significant = [effect for effect in social if effect.significant]
    largest = sorted(significant or social or result.effects, key=lambda effect: -abs(effect.d))[:_STRIPS]
    title = f"Associations of {result.model}"
    body = [
        _head(title, _parameters(result)),
        f"<p>{len(significant)} of {len(social)} associations about people are significant after correction for multiple tests. "
        "This does not prove that the others are absent: tests with few words miss a lot.</p>",
        words["warning"],
        "<h2>Effect sizes</h2>",
        _figure(_forest([result]), words["forest"]),
        _effects_table(result.effects),
        "<h2>Words behind the largest effects</h2>",
        *map(_words_behind, largest),
        words["advice"],
        words["method"],
        _foot(result),
    ]
    return _page(title, body)


def comparison_page(results: Sequence[SeatResult], links: Sequence[str] = ()) -> str:
    """Return a page that compares models. ``links`` are the URLs of their own pages."""
    words = _words()
    title = f"Associations of {len(results)} models"
    has_forest = len(results) <= len(_COLORS)
    body = [
        _head(title, _parameters(results[0])),
        words["warning"],
        "<h2>Effect sizes</h2>",
        *([_figure(_forest(results), words["forest_of_several"])] if has_forest else []),
        _comparison_table(results, links),
        words["comparison"],
        words["advice"],
        words["method"],
        f'<p class="meta">{escape(NOT_OPENAI)}</p>',
    ]
    return _page(title, body)


def winogender_page(results: Sequence[WinogenderResult]) -> str:
    """Return a page about Winogender: the gap and the share of women of each occupation."""
    words = _words()
    title = "Winogender: pronouns and occupations"
    body = [
        _head(title, f"{results[0].schemas} schemas of Rudinger et al. 2018; 95 % intervals over occupations"),
        words["pronouns"],
    ]
    for result in results:
        body += [
            f"<h2>{escape(result.model)}</h2>",
            "<p>Correlation of the gap (<i>she</i> − <i>he</i>) with the actual share of women: "
            f"<b>{result.correlation:+.2f}</b>; with the share in texts: {result.correlation_text:+.2f}. The correct "
            f"person is the nearer one in {result.resolved.value:.0%} of the sentences, where chance is 50%.</p>",
            _figure(_scatter(result), words["scatter"]),
        ]
    return _page(title, [*body, words["advice"], f'<p class="meta">{escape(NOT_OPENAI)}</p>'])


def p_text(p: float) -> str:
    """Format a p-value: ``0.013``, ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


def _page(title: str, body: Sequence[str]) -> str:
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_words()['style']}</style></head><body><main>",
            *body,
            "</main></body></html>\n",
        ]
    )


def _head(title: str, subtitle: str) -> str:
    origin = f"Umekomi {__version__} · {date.today().isoformat()}"
    return f'<h1>{escape(title)}</h1><p class="meta">{escape(subtitle)} · {origin}</p>'


def _parameters(result: SeatResult) -> str:
    form = "words alone (WEAT)" if result.bare else "words in simple sentences (SEAT)"
    unit = "words" if result.unit is PermutationUnit.WORD else "sentences"
    return f"{form}; {unit} permuted; seed {result.seed}; up to {result.permutations:,} random splits"


def _foot(result: SeatResult) -> str:
    return f'<p class="meta">Vector space {escape(result.fingerprint)}. {escape(NOT_OPENAI)}</p>'


def _table(headings: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table. Headings that end with # belong to columns of numbers."""
    cells = [f'<th class="n">{head[:-1]}</th>' if head.endswith("#") else f"<th>{head}</th>" for head in headings]
    return f'<div class="wide"><table><tr>{"".join(cells)}</tr>\n{"".join(rows)}</table></div>'


def _number_cell(text: str, style: str = "") -> str:
    return f'<td class="n"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{text}</td>'


def _title_cell(title: str, source: str) -> str:
    return f'<td>{escape(title)}<br><span class="src">{escape(source)}</span></td>'


def _effects_table(effects: Sequence[Effect]) -> str:
    rows = []
    for effect in effects:
        x, y, a, b = effect.sizes
        numbers = [
            f"{x}, {y} / {a}, {b}",
            f"{effect.d:+.2f}",
            f"{effect.low:+.2f} … {effect.high:+.2f}",
            p_text(effect.p),
            p_text(effect.p_holm),
            f"{effect.splits:,}{' (all)' if effect.exact else ''}",
        ]
        css_class = ' class="significant"' if effect.significant else ""
        cells = "".join(map(_number_cell, map(escape, numbers)))
        rows.append(f"<tr{css_class}>{_title_cell(effect.title, f'{effect.test}; {effect.source}')}{cells}</tr>\n")
    return _table(["targets / attributes", "words#", "d#", "95 % interval#", "p#", "p (Holm)#", "splits#"], rows)


def _words_behind(effect: Effect) -> str:
    words = effect.associations
    shown = words if len(words) <= 8 else (*words[:4], *words[-4:])
    rows = [
        f"<tr><td>{escape(word.word)}</td><td>{escape(word.group)}</td>{_number_cell(f'{word.value:+.3f}')}"
        f"<td>{escape(word.sentence)}</td></tr>\n"
        for word in shown
    ]
    return (
        f'<h3>{escape(effect.title)} <span class="src">d = {effect.d:+.2f}</span></h3>'
        + _figure(_strip(effect), _words()["strip"])
        + _table(["word", "group", "association#", "sentence with the largest association"], rows)
    )


def _comparison_table(results: Sequence[SeatResult], links: Sequence[str]) -> str:
    names = [escape(result.model) for result in results]
    if links:
        names = [f'<a href="{escape(link)}">{name}</a>' for link, name in zip(links, names, strict=True)]
    rows = []
    for effects in zip(*(result.effects for result in results), strict=True):
        cells = []
        for effect in effects:
            color = "0,114,178" if effect.d >= 0 else "213,94,0"
            number = f"<b>{effect.d:+.2f}</b>" if effect.significant else f"{effect.d:+.2f}"
            interval = f'<br><span class="src">{effect.low:+.1f} … {effect.high:+.1f}</span>'
            cells.append(
                _number_cell(number + interval, f"background:rgba({color},{min(0.55, abs(effect.d) / 4):.2f})")
            )
        rows.append(f"<tr>{_title_cell(effects[0].title, effects[0].test)}{''.join(cells)}</tr>\n")
    return _table(["targets / attributes", *(f"{name}#" for name in names)], rows)


def _figure(figure: Figure, caption: str) -> str:
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "umekomi"}), warnings.catch_warnings():
        # The browser chooses the glyphs, but Matplotlib needs fonts with the same glyphs to measure the text.
        use_installed_fonts(figure)
        warnings.simplefilter("ignore")
        figure.savefig(stream, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    svg = stream.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{caption}</figcaption></figure>"


def _forest(results: Sequence[SeatResult]) -> Figure:
    effects = results[0].effects
    step = 0.8 / len(results)
    figure = Figure(figsize=(5.4, 0.7 + len(effects) * max(0.33, 0.17 * len(results))))
    axes = figure.subplots()
    for number, result in enumerate(results):
        for row, effect in enumerate(result.effects):
            y = row + (number - (len(results) - 1) / 2) * step
            color = GRAY if len(results) == 1 and not effect.social else _COLORS[number]
            axes.plot([effect.low, effect.high], [y, y], color=color, linewidth=1.6, solid_capstyle="round")
            face = color if effect.significant else "white"
            axes.plot(
                [effect.d],
                [y],
                marker="o",
                markersize=6.5,
                markerfacecolor=face,
                markeredgecolor=color,
                markeredgewidth=1.4,
            )
        if len(results) > 1:
            axes.plot([], [], color=_COLORS[number], marker="o", label=result.model)
    axes.axvline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_xlim(-2.05, 2.05)
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_yticks(range(len(effects)), [effect.title for effect in effects])
    axes.set_xlabel("effect size d")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if len(results) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=9)
    return figure


def _strip(effect: Effect) -> Figure:
    groups = effect.names[:2]
    figure = Figure(figsize=(8, 1.7))
    axes = figure.subplots()
    for row, group in enumerate(groups):
        values = [word.value for word in effect.associations if word.group == group]
        color = (BLUE, ORANGE)[row]
        axes.plot(values, [row] * len(values), "o", color=color, alpha=0.55, markersize=7, markeredgewidth=0)
        middle = sum(values) / len(values)
        axes.plot([middle, middle], [row - 0.28, row + 0.28], color=color, linewidth=2)
    for index, side in ((0, "right"), (-1, "left")):
        word = effect.associations[index]
        row = groups.index(word.group)
        axes.annotate(word.word, (word.value, row), xytext=(0, 9), textcoords="offset points", ha=side, fontsize=9)
    axes.axvline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_xlabel(f"←  nearer to: {effect.names[3]}", loc="left")
    label = f"nearer to: {effect.names[2]}  →"
    axes.annotate(
        label, (1, 0), (0, -26), xycoords="axes fraction", textcoords="offset points", ha="right", va="center"
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _scatter(result: WinogenderResult) -> Figure:
    figure = Figure(figsize=(8, 4.4))
    axes = figure.subplots()
    shares, gaps = zip(*((occupation.women, occupation.gap) for occupation in result.occupations), strict=True)
    axes.plot(shares, gaps, "o", color=BLUE, alpha=0.6, markeredgewidth=0)
    ordered = sorted(result.occupations, key=lambda occupation: occupation.gap)
    for occupation in (*ordered[:5], *ordered[-5:]):
        side, shift = ("right", -6) if occupation.women > 75 else ("left", 6)
        point = (occupation.women, occupation.gap)
        axes.annotate(occupation.occupation, point, xytext=(shift, 3), textcoords="offset points", ha=side, fontsize=9)
    axes.axhline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_xlabel("women in the occupation, % (US Bureau of Labor Statistics, 2015/16)")
    axes.set_ylabel("gap: she − he, difference of cosines")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
