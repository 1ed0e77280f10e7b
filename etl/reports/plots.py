"""Plots as SVG that stands in a page: drawn by Matplotlib, in the page's colours.

Nothing else imports Matplotlib: it is loaded where a plot is drawn. The same figures give the same
bytes. Colours are variables of the page's style, so that a plot is dark where the page is; text is
text, and a title and a description are there for people who cannot see it.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SERIES: Final = 6
_INK, _LINE = "#a00010", "#a00011"
_COLOURS: Final = {
    **{f"#a0000{number}": f"var(--plot-{number})" for number in range(1, _SERIES + 1)},
    _INK: "var(--quiet)",
    _LINE: "var(--line)",
}
"""Colour that is drawn with → what it is in the page."""

_WIDTH, _HEIGHT = 7.2, 2.3  # inches of 72 pixels
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

    def svg(self) -> Markup:
        """Return the drawing; `series` has six entries at most."""
        return _drawn(self)


def _drawn(plot: Plot) -> Markup:
    # It would log where it keeps its list of fonts, which is of no use here.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    if len(plot.series) > _SERIES:
        raise ValueError(f"{plot.name}: more than {_SERIES} series")
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
    with rc_context(style):
        figure = Figure(figsize=(_WIDTH, _HEIGHT))
        figure.patch.set_visible(False)
        axes = figure.add_axes((0.1, 0.15, 0.88, 0.7))
        axes.patch.set_visible(False)
        _plot(axes, plot)
        out = io.StringIO()
        canvas: Any = FigureCanvasSVG(figure)  # its method has no types
        canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    return Markup(_in_page(out.getvalue(), plot))  # noqa: S704 - texts are escaped


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
            axes.bar(places, heights, bottom=below, color=colour, label=name, width=0.8)
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
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=_SERIES,
            frameon=False,
            borderpad=0,
            borderaxespad=0.3,
            handlelength=1,
            handletextpad=0.4,
            columnspacing=1.2,
        )


def _in_page(svg: str, plot: Plot) -> str:
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
    for drawn, shown in _COLOURS.items():
        body = body.replace(drawn, shown)
    _, _, inner = body.partition(">")
    box = f"0 0 {_WIDTH * 72:g} {_HEIGHT * 72:g}"
    title, description = f"{plot.name}-title", f"{plot.name}-description"
    return (
        f'<svg viewBox="{box}" role="img" aria-labelledby="{title} {description}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="inherit" stroke-linejoin="round">'
        f'<title id="{title}">{escape(plot.title)}</title>'
        f'<desc id="{description}">{escape(plot.description)}</desc>{inner}'
    )
