"""Plots as inline SVG, drawn by Matplotlib in the page's colors.

Nothing else imports Matplotlib, and it is only loaded to draw. The same values give the same bytes.
Colors are CSS variables of the page, so a plot follows its dark mode. Text stays text, and each
plot has a title and a description for screen readers.
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

_MAX_SERIES: Final = 6
_INK, _LINE = "#a00010", "#a00011"
_CSS_COLORS: Final = {
    **{f"#a0000{number}": f"var(--plot-{number})" for number in range(1, _MAX_SERIES + 1)},
    **{f"#b0000{number}": f"var(--heat-{number})" for number in range(5)},
    _INK: "var(--quiet)",
    _LINE: "var(--line)",
}
"""Placeholder color in Matplotlib → the page's CSS variable."""
_GRADE_COLORS: Final = tuple(f"#b0000{number}" for number in range(5))

_WIDTH, _HEIGHT = 7.2, 2.3  # inches of 72 pixels
_LEGEND: Final[dict[str, Any]] = {
    "frameon": False,
    "borderpad": 0,
    "borderaxespad": 0.3,
    "handlelength": 1,
    "handletextpad": 0.4,
    "columnspacing": 1.2,
}
_LONG_DECIMALS: Final = re.compile(r"(\.\d\d)\d+")
_MAX_TICKS: Final = 10
"""Most labels below an axis."""

Kind = Literal["bars", "lines"]
Value: TypeAlias = float | Decimal | None


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot.

    Attributes:
        name: unique among the plots of its page; letters and hyphens.
        title: what it shows.
        description: the same in words, for screen readers.
        labels: below the axis, in order.
        series: name → one value for each label; None if it is missing or withheld.
        kind: stacked bars, or lines with gaps for missing values.
        unit: printed after each value on the axis.
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
        """Whether there is no value to draw."""
        return all(value is None for values in self.series.values() for value in values)

    def svg(self) -> Markup:
        """Return the drawing. `series` must not have more than six entries."""
        if len(self.series) > _MAX_SERIES:
            raise ValueError(f"{self.name}: more than {_MAX_SERIES} series")
        return _render(self, _HEIGHT, (0.1, 0.15), lambda axes: _draw_plot(axes, self))


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A heat map: named rows of cells, which need not be equally long.

    Attributes:
        name: unique among the plots of its page; letters and hyphens.
        title: what it shows.
        description: the same in words, for screen readers.
        rows: name -> the grade of each cell, an index of `grades`.
        grades: names of the grades, from most to least; at most five.
        labels: text after each row.
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
        return _render(self, height, (0.31, 0.26 / height), lambda axes: _draw_cells(axes, self))


def _render(
    plot: Plot | HeatMap, height: float, margins: tuple[float, float], draw: Callable[[Axes], None]
) -> Markup:
    """Draw a plot and return its SVG for a page.

    Args:
        plot: gives the name, title and description.
        height: in inches.
        margins: left and top, as fractions of width and height.
        draw: draws on the axes.
    """
    # Otherwise Matplotlib logs the path of its font cache.
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
        svg = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)  # its method has no types
        canvas.print_svg(svg, metadata={"Date": None, "Creator": None})
    box = f"0 0 {_WIDTH * 72:g} {height * 72:g}"
    return Markup(_adapt_svg(svg.getvalue(), plot, box))  # noqa: S704 - texts are escaped


def _draw_cells(axes: Axes, plot: HeatMap) -> None:
    for grade, name in enumerate(plot.grades):
        cells = [
            (column, row + 0.1, 0.9, 0.8)
            for row, grades in enumerate(plot.rows.values())
            for column, cell_grade in enumerate(grades)
            if cell_grade == grade
        ]
        axes.add_artist(_rectangles(cells, _GRADE_COLORS[grade], name))
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
    boxes: Iterable[tuple[float, float, float, float]], color: str, name: str
) -> PathPatch:
    """Return rectangles as one path, several times faster than a patch for each.

    Args:
        boxes: left, bottom, width and height of each.
        color: color of all.
        name: label in the legend.
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
    return PathPatch(path, facecolor=color, linewidth=0, label=name)


def _draw_plot(axes: Axes, plot: Plot) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    positions = range(len(plot.labels))
    bottoms = [0.0] * len(plot.labels)
    for number, (name, values) in enumerate(plot.series.items(), 1):
        color = f"#a0000{number}"
        if plot.kind == "lines":
            points = [float("nan") if value is None else float(value) for value in values]
            axes.plot(positions, points, color=color, label=name, marker="o", markersize=3)
        else:
            heights = [float(value or 0) for value in values]
            boxes = zip((position - 0.4 for position in positions), bottoms, repeat(0.8), heights)
            axes.add_artist(_rectangles(boxes, color, name))
            bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    step = max(1, -(-len(plot.labels) // _MAX_TICKS))
    axes.set_xticks(positions[::step], plot.labels[::step])
    axes.set_xlim(-0.6, max(len(plot.labels), 1) - 0.4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}{plot.unit}"))
    if plot.kind == "bars":
        axes.set_ylim(bottom=0, top=max(bottoms, default=0) * 1.05 or 1)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    if len(plot.series) > 1:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_MAX_SERIES, **_LEGEND)


def _adapt_svg(svg: str, plot: Plot | HeatMap, box: str) -> str:
    """Turn Matplotlib's SVG into inline SVG with the page's colors and font."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", body)
    body = re.sub(r" font-family: [^;\"]*;", "", body)
    body = re.sub(r"^ +|<g/>\n| transform=\"rotate\(-0 [^)]*\)\"", "", body, flags=re.MULTILINE)
    body = body.replace("xlink:href", "href")
    body = re.sub(r'="[^"]*"', lambda match: _LONG_DECIMALS.sub(r"\1", match[0]), body)
    for hex_color, css_variable in _CSS_COLORS.items():
        body = body.replace(hex_color, css_variable)
    _, _, inner = body.partition(">")
    title, description = f"{plot.name}-title", f"{plot.name}-description"
    return (
        f'<svg viewBox="{box}" role="img" aria-labelledby="{title} {description}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="inherit" stroke-linejoin="round">'
        f'<title id="{title}">{escape(plot.title)}</title>'
        f'<desc id="{description}">{escape(plot.description)}</desc>{inner}'
    )
