"""Pages about the bias of models: one self-contained HTML file each, with its pictures inside. Needs ``umekomi[tasks]``."""

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
from ..evaluation.metrics import Estimate
from ..plots.fonts import use_installed_fonts
from .seat import Effect, SeatResult, Unit
from .winogender import WinogenderResult

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#7a7a7a"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
_STRIPS = 3


@cache
def _words() -> dict[str, str]:
    return tomllib.loads(resources.files(__package__).joinpath("report.toml").read_text("utf-8"))


def seat_page(result: SeatResult) -> str:
    """One page about one model: effects with their intervals, what is behind the largest, and what to do."""
    words = _words()
    people = [one for one in result.effects if one.social]
    sure = [one for one in people if one.significant]
    largest = sorted(sure or people or result.effects, key=lambda one: -abs(one.d))[:_STRIPS]
    title = f"Associations of {result.model}"
    body = [
        _head(title, _how(result)),
        f"<p>{len(sure)} of {len(people)} associations about people are larger than chance gives, after correction for their "
        "number. The others are not shown to be absent: a test of a few words misses much.</p>",
        words["warning"],
        "<h2>Effect sizes</h2>",
        _figure(_forest([result]), words["forest"]),
        _effects_table(result.effects),
        "<h2>What is behind the largest</h2>",
        *map(_behind, largest),
        words["advice"],
        words["method"],
        _foot(result),
    ]
    return _page(title, body)


def comparison_page(results: Sequence[SeatResult], links: Sequence[str] = ()) -> str:
    """A page that lays models side by side; ``links`` are the addresses of their own pages."""
    words = _words()
    title = f"Associations of {len(results)} models"
    few = len(results) <= len(_COLOURS)
    body = [
        _head(title, _how(results[0])),
        words["warning"],
        "<h2>Effect sizes</h2>",
        *([_figure(_forest(results), words["forest_of_several"])] if few else []),
        _comparison_table(results, links),
        words["comparison"],
        words["advice"],
        words["method"],
        f'<p class="meta">{escape(NOT_OPENAI)}</p>',
    ]
    return _page(title, body)


def winogender_page(results: Sequence[WinogenderResult]) -> str:
    """A page about Winogender: each occupation's gap beside its share of women."""
    words = _words()
    title = "Winogender: pronouns and occupations"
    body = [
        _head(title, f"{results[0].schemas} schemas of Rudinger et al. 2018; 95 % intervals over occupations"),
        words["pronouns"],
    ]
    for result in results:
        body += [
            f"<h2>{escape(result.model)}</h2>",
            "<p>Correlation of the gap (<i>she</i> − <i>he</i>) with the real share of women: "
            f"<b>{_span(result.correlation)}</b>; with the share in text: {_span(result.correlation_text)}. The right person is "
            f"the nearer one in {result.resolved.value:.0%} of sentences, where chance is 50%.</p>",
            _figure(_scatter(result), words["scatter"]),
        ]
    return _page(title, [*body, words["advice"], f'<p class="meta">{escape(NOT_OPENAI)}</p>'])


def p_text(p: float) -> str:
    """A p value as people write it: ``0.013``, ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}" if p < 0.01 else f"{p:.3f}"


# ---------------------------------------------------------------- pieces of a page


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


def _head(title: str, how: str) -> str:
    made = f"Umekomi {__version__} · {date.today().isoformat()}"
    return f'<h1>{escape(title)}</h1><p class="meta">{escape(how)} · {made}</p>'


def _how(result: SeatResult) -> str:
    form = "words alone (WEAT)" if result.bare else "words in plain sentences (SEAT)"
    unit = "words" if result.unit is Unit.WORD else "sentences"
    return f"{form}; {unit} permuted; seed {result.seed}; up to {result.permutations:,} random splits"


def _foot(result: SeatResult) -> str:
    return f'<p class="meta">Vector space {escape(result.fingerprint)}. {escape(NOT_OPENAI)}</p>'


def _span(estimate: Estimate) -> str:
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def _table(heads: Sequence[str], rows: Sequence[str]) -> str:
    """A table; a heading that ends with # is of numbers."""
    cells = [f'<th class="n">{head[:-1]}</th>' if head.endswith("#") else f"<th>{head}</th>" for head in heads]
    return f'<div class="wide"><table><tr>{"".join(cells)}</tr>\n{"".join(rows)}</table></div>'


def _number(text: str, style: str = "") -> str:
    return f'<td class="n"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{text}</td>'


def _titled(title: str, source: str) -> str:
    return f'<td>{escape(title)}<br><span class="src">{escape(source)}</span></td>'


def _effects_table(effects: Sequence[Effect]) -> str:
    rows = []
    for one in effects:
        x, y, a, b = one.sizes
        numbers = [
            f"{x}, {y} / {a}, {b}",
            f"{one.d:+.2f}",
            f"{one.low:+.2f} … {one.high:+.2f}",
            p_text(one.p),
            p_text(one.p_holm),
            f"{one.splits:,}{' (all)' if one.exact else ''}",
        ]
        sure = ' class="sure"' if one.significant else ""
        cells = "".join(map(_number, map(escape, numbers)))
        rows.append(f"<tr{sure}>{_titled(one.title, f'{one.test}; {one.source}')}{cells}</tr>\n")
    return _table(["targets / attributes", "words#", "d#", "95 % interval#", "p#", "p (Holm)#", "splits#"], rows)


def _behind(effect: Effect) -> str:
    everyone = effect.associations
    rows = [
        f"<tr><td>{escape(one.word)}</td><td>{escape(one.group)}</td>{_number(f'{one.value:+.3f}')}"
        f"<td>{escape(one.sentence)}</td></tr>\n"
        for one in (everyone if len(everyone) <= 8 else (*everyone[:4], *everyone[-4:]))
    ]
    return (
        f'<h3>{escape(effect.title)} <span class="src">d = {effect.d:+.2f}</span></h3>'
        + _figure(_strip(effect), _words()["strip"])
        + _table(["word", "group", "association#", "its most telling sentence"], rows)
    )


def _comparison_table(results: Sequence[SeatResult], links: Sequence[str]) -> str:
    names = [escape(result.model) for result in results]
    if links:
        names = [f'<a href="{escape(link)}">{name}</a>' for link, name in zip(links, names, strict=True)]
    rows = []
    for place, effect in enumerate(results[0].effects):
        cells = []
        for one in (result.effects[place] for result in results):
            colour = "0,114,178" if one.d >= 0 else "213,94,0"
            number = f"<b>{one.d:+.2f}</b>" if one.significant else f"{one.d:+.2f}"
            span = f'<br><span class="src">{one.low:+.1f} … {one.high:+.1f}</span>'
            cells.append(_number(number + span, f"background:rgba({colour},{min(0.55, abs(one.d) / 4):.2f})"))
        rows.append(f"<tr>{_titled(effect.title, effect.test)}{''.join(cells)}</tr>\n")
    return _table(["targets / attributes", *(f"{name}#" for name in names)], rows)


# ---------------------------------------------------------------- pictures


def _figure(picture: Figure, caption: str) -> str:
    stream = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "umekomi"}), warnings.catch_warnings():
        # The browser chooses the glyphs. Fonts that have them give Matplotlib the right widths.
        use_installed_fonts(picture)
        warnings.simplefilter("ignore")
        picture.savefig(stream, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    return f"<figure>{text[text.index('<svg') :]}<figcaption>{caption}</figcaption></figure>"


def _forest(results: Sequence[SeatResult]) -> Figure:
    effects = results[0].effects
    step = 0.8 / len(results)
    figure = Figure(figsize=(5.4, 0.7 + len(effects) * max(0.33, 0.17 * len(results))))
    axes = figure.subplots()
    for number, result in enumerate(results):
        for place, one in enumerate(result.effects):
            y = place + (number - (len(results) - 1) / 2) * step
            colour = GREY if len(results) == 1 and not one.social else _COLOURS[number]
            axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.6, solid_capstyle="round")
            face = colour if one.significant else "white"
            axes.plot(
                [one.d],
                [y],
                marker="o",
                markersize=6.5,
                markerfacecolor=face,
                markeredgecolor=colour,
                markeredgewidth=1.4,
            )
        if len(results) > 1:
            axes.plot([], [], color=_COLOURS[number], marker="o", label=result.model)
    axes.axvline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_xlim(-2.05, 2.05)
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_yticks(range(len(effects)), [one.title for one in effects])
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
        values = [one.value for one in effect.associations if one.group == group]
        colour = (BLUE, ORANGE)[row]
        axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.55, markersize=7, markeredgewidth=0)
        middle = sum(values) / len(values)
        axes.plot([middle, middle], [row - 0.28, row + 0.28], color=colour, linewidth=2)
    for place, side in ((0, "right"), (-1, "left")):
        one = effect.associations[place]
        row = groups.index(one.group)
        axes.annotate(one.word, (one.value, row), xytext=(0, 9), textcoords="offset points", ha=side, fontsize=9)
    axes.axvline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_xlabel(f"←  nearer to: {effect.names[3]}", loc="left")
    towards = f"nearer to: {effect.names[2]}  →"
    axes.annotate(
        towards, (1, 0), (0, -26), xycoords="axes fraction", textcoords="offset points", ha="right", va="center"
    )
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def _scatter(result: WinogenderResult) -> Figure:
    figure = Figure(figsize=(8, 4.4))
    axes = figure.subplots()
    shares, gaps = [one.women for one in result.occupations], [one.gap for one in result.occupations]
    axes.plot(shares, gaps, "o", color=BLUE, alpha=0.6, markeredgewidth=0)
    ordered = sorted(result.occupations, key=lambda one: one.gap)
    for one in (*ordered[:5], *ordered[-5:]):
        side, shift = ("right", -6) if one.women > 75 else ("left", 6)
        place = (one.women, one.gap)
        axes.annotate(one.occupation, place, xytext=(shift, 3), textcoords="offset points", ha=side, fontsize=9)
    axes.axhline(0, color="#1c1c1c", linewidth=0.8)
    axes.set_xlabel("women in the occupation, % (US Bureau of Labor Statistics, 2015/16)")
    axes.set_ylabel("gap: she − he, difference of cosines")
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    return figure
