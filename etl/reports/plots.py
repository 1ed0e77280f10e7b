"""Plots as SVG that stands in a page: drawn by Matplotlib, in the page's colours.

Nothing else imports Matplotlib: it is loaded where a plot is drawn. The same figures give the same
bytes. Colours are variables of the page's style, so that a plot is dark where the page is; text is
text, and a title and a description are there for people who cannot see it.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import PathPatch

_SERIES: Final = 6
_INK, _LINE = "#a00010", "#a00011"
_COLOURS: Final = {
    **{f"#a0000{number}": f"var(--plot-{number})" for number in range(1, _SERIES + 1)},
    **{f"#b0000{number}": f"var(--heat-{number})" for number in range(5)},
    _INK: "var(--quiet)",
    _LINE: "var(--line)",
}
"""Colour that is drawn with → what it is in the page."""
_GRADES: Final = tuple(f"#b0000{number}" for number in range(5))

_WIDTH, _HEIGHT = 7.2, 2.3  # inches of 72 pixels
_LEGEND: Final[dict[str, Any]] = {
    "frameon": False,
    "borderpad": 0,
    "borderaxespad": 0.3,
    "handlelength": 1,
    "handletextpad": 0.4,
    "columnspacing": 1.2,
}
_DECIMALS: Final = re.compile(r"(\.\d\d)\d+")
_TICKS: Final = 10
"""Most names that stand below an axis."""

Kind = Literal["bars", "lines"]
Value: TypeAlias = float | Decimal | None


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Attributes:
        name: names it among those of its page; letters and hyphens.
        title: what it shows.
        description: the same in words, for people who cannot see it.
        labels: below the axis, in order.
        series: name → a value a label; None where there is none, or it is withheld.
        kind: bars, on top of each other; or lines, with a gap where there is no value.
        unit: what the values are, beside the axis.
    """

    name: str
    title: str
    description: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[Value]]
    kind: Kind = "bars"
    unit: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether it has no value to draw."""
        return all(value is None for values in self.series.values() for value in values)

    def svg(self) -> Markup:
        """Return the drawing; `series` has six entries at most."""
        if len(self.series) > _SERIES:
            raise ValueError(f"{self.name}: more than {_SERIES} series")
        return _drawing(self, _HEIGHT, (0.1, 0.15), lambda axes: _plot(axes, self))


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A heat map: a row of cells for each of several things, which need not have as many.

    Attributes:
        name: names it among the plots of its page; letters and hyphens.
        title: what it shows.
        description: the same in words, for people who cannot see it.
        rows: name -> the grade of each cell, a position in `grades`.
        grades: what a cell of each grade is, from most to least; five at most.
        labels: what stands behind each row.
    """

    name: str
    title: str
    description: str
    rows: Mapping[str, Sequence[int]]
    grades: Sequence[str]
    labels: Sequence[str]

    def svg(self) -> Markup:
        """Return the drawing."""
        height = 0.35 + 0.2 * len(self.rows)
        return _drawing(self, height, (0.31, 0.26 / height), lambda axes: _cells(axes, self))


def _drawing(
    plot: Plot | HeatMap, height: float, margins: tuple[float, float], draw: Callable[[Axes], None]
) -> Markup:
    """Return a drawing for a page.

    Args:
        plot: names and describes it.
        height: inches.
        margins: at the left and above, as parts of width and height.
        draw: draws it.
    """
    # It would log where it keeps its list of fonts, which is of no use here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": plot.name,
        "font.size": 9,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "text.color": _INK,
        "legend.labelcolor": _INK,
        "grid.color": _LINE,
        "lines.linewidth": 1.8,
    }
    left, above = margins
    below = 0.15 if isinstance(plot, Plot) else 0.02
    with rc_context(style):
        figure = Figure(figsize=(_WIDTH, height))
        figure.patch.set_visible(False)
        axes = figure.add_axes((left, below, 0.98 - left, 1 - above - below))
        axes.patch.set_visible(False)
        draw(axes)
        out = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)  # its method has no types
        canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    box = f"0 0 {_WIDTH * 72:g} {height * 72:g}"
    return Markup(_in_page(out.getvalue(), plot, box))  # noqa: S704 - texts are escaped


def _cells(axes: Axes, plot: HeatMap) -> None:
    for grade, name in enumerate(plot.grades):
        cells = [
            (column, row + 0.1, 0.9, 0.8)
            for row, grades in enumerate(plot.rows.values())
            for column, found in enumerate(grades)
            if found == grade
        ]
        axes.add_artist(_rectangles(cells, _GRADES[grade], name))
    longest = max(map(len, plot.rows.values()), default=1)
    for row, (grades, label) in enumerate(zip(plot.rows.values(), plot.labels, strict=True)):
        axes.text(len(grades) + longest / 100, row + 0.5, label, va="center")
    axes.set_xlim(0, longest * 1.2)
    axes.set_ylim(len(plot.rows), 0)
    axes.set_xticks([])
    axes.set_yticks([row + 0.5 for row in range(len(plot.rows))], list(plot.rows))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.3, 1), ncols=len(plot.grades), **_LEGEND)


def _rectangles(
    boxes: Iterable[tuple[float, float, float, float]], colour: str, name: str
) -> PathPatch:
    """Return rectangles as one path, which is several times as fast as one patch for each.

    Args:
        boxes: left, bottom, width and height of each.
        colour: of all.
        name: in the legend.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners: list[tuple[float, float]] = []
    codes: list[Any] = []
    for left, bottom, width, height in boxes:
        right, top = left + width, bottom + height
        corners += [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    path = Path(corners or [(0, 0)], codes or [Path.MOVETO])
    return PathPatch(path, facecolor=colour, linewidth=0, label=name)


def _plot(axes: Axes, plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    places = range(len(plot.labels))
    below = [0.0] * len(plot.labels)
    for number, (name, values) in enumerate(plot.series.items(), 1):
        colour = f"#a0000{number}"
        if plot.kind == "lines":
            seen = [float("nan") if value is None else float(value) for value in values]
            axes.plot(places, seen, color=colour, label=name, marker="o", markersize=3)
        else:
            heights = [float(value or 0) for value in values]
            boxes = zip((place - 0.4 for place in places), below, repeat(0.8), heights)
            axes.add_artist(_rectangles(boxes, colour, name))
            below = [low + high for low, high in zip(below, heights, strict=True)]
    step = max(1, -(-len(plot.labels) // _TICKS))
    axes.set_xticks(places[::step], plot.labels[::step])
    axes.set_xlim(-0.6, max(len(plot.labels), 1) - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}{plot.unit}"))
    if plot.kind == "bars":
        axes.set_ylim(bottom=0, top=max(below, default=0) * 1.05 or 1)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_SERIES, **_LEGEND)


def _in_page(svg: str, plot: Plot | HeatMap, box: str) -> str:
    """Return a drawing as a part of a page, with the page's colours and font."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    body = re.sub(r"^ +|<g/>\n| transform=\"rotate\(-0 [^)]*\)\"", "", body, flags=re.MULTILINE)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'="[^"]*"', lambda found: _DECIMALS.sub(r"\1", found[0]), body)
    for drawn, shown in _COLOURS.items():
        body = body.replace(drawn, shown)
    _, _, inner = body.partition(">")
    title, description = f"{plot.name}-title", f"{plot.name}-description"
    return (
        f'<svg viewBox="{box}" role="img" aria-labelledby="{title} {description}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="inherit" stroke-linejoin="round">'
        f'<title id="{title}">{escape(plot.title)}</title>'
        f'<desc id="{description}">{escape(plot.description)}</desc>{inner}'
    )
