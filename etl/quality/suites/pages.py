"""Data Docs that load nothing from the network.

The stock pages load a logo, which reports to its maker who opened them, and a dozen third-party
scripts and styles. What is kept is decided by a list of tags and attributes, not by a list of what
to strip: text, tables and links inside the folder. The rest of the page is our own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy of every page: styles that stand in the page, and nothing else."""

_KEPT: Final = frozenset(
    re.findall(
        r"\w+",
        "div span p h1 h2 h3 h4 h5 h6 table thead tbody tr td th ul ol li strong em b i br a code "
        "pre small",
    )
)
_VOID: Final = frozenset({"br"})
_DROPPED: Final = frozenset(
    re.findall(
        r"\w+",
        "script style link nav footer button svg form label input noscript title head img",
    )
)
_VOID_DROPPED: Final = frozenset({"link", "input", "img", "meta"})
_OF_ROWS: Final = re.compile(r"% of [\d,]+ total rows")
"""Words of the library about a share of the cells that are filled, which it calls one of rows."""
_REPORT: Final = '<a href="../index.html">Report</a>'
_FEWER: Final = (
    "The report counts more rows where some were superseded or could not be read: no suite looks "
    "at those."
)
_ID: Final = re.compile(r"section-\d+(-content-block-\d+)?")


@dataclass(frozen=True, slots=True)
class Page:
    """Content of one table's pages, without anything that could load, run or track.

    Attributes:
        results: how the expectations did.
        rules: what they are.
    """

    results: str
    rules: str

    @classmethod
    def of(cls, results: str, rules: str) -> Page:
        """Return what is kept of two stock pages."""
        return cls(harmless(results), harmless(rules))


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """One line of the index."""

    table: str
    covered: int
    of: int
    expectations: int
    passed: int


def write(
    out: Path,
    pages: Mapping[str, Page],
    lines: Sequence[SummaryLine],
    *,
    run_name: str,
    run_time: datetime,
) -> None:
    """Write `index.html`, and for each table `<table>.html` and `<table>-suite.html`."""
    out.mkdir(parents=True, exist_ok=True)
    by_table = {line.table: line for line in lines}
    for table, page in pages.items():
        back = (
            f'<p class="way">{_REPORT} · <a href="index.html">All tables</a> · '
            f'<a href="{table}.html">Results</a> · <a href="{table}-suite.html">Rules</a></p>'
        )
        for shown, name, title in (
            (page.results, f"{table}.html", f"{table}: results"),
            (page.rules, f"{table}-suite.html", f"{table}: rules"),
        ):
            body = f"{back}<h1>{escape(title)}</h1>{_coverage(by_table[table])}{shown}"
            (out / name).write_text(_page(title, body), encoding="utf-8")
    index = _index(lines, run_name, run_time)
    (out / "index.html").write_text(_page("Data Docs", index), encoding="utf-8")


def harmless(page: str) -> str:
    """Return the content of a stock page without anything that could load, run or track."""
    reader = _Filter()
    reader.feed(page)
    reader.close()
    return re.sub(r"<li[^>]*>\s*</li>", "", "".join(reader.parts))


class _Filter(HTMLParser):
    """Writes what is kept; inside a dropped element only the nesting is followed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID_DROPPED:
            return
        if self._dropped:
            if tag == self._dropped[-1]:
                self._dropped.append(tag)
            return
        # What a script would unfold is when and from what frame the page was made.
        folded = dict(attrs).get("data-toggle") == "collapse" or "collapse" in _classes(attrs)
        if tag in _DROPPED or folded:
            self._dropped.append(tag)
        elif tag in _KEPT:
            kept = [
                f' {name}="{escape(value)}"'
                for name, value in attrs
                if value and _fine(name, value)
            ]
            self.parts.append(f"<{tag}{''.join(kept)}>")

    def handle_endtag(self, tag: str) -> None:
        if self._dropped:
            if tag == self._dropped[-1]:
                self._dropped.pop()
        elif tag in _KEPT and tag not in _VOID:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._dropped:
            text = _OF_ROWS.sub("% of the values looked at", re.sub(r"\s+", " ", data))
            self.parts.append(escape(text, quote=False))


def _classes(attrs: list[tuple[str, str | None]]) -> list[str]:
    return (dict(attrs).get("class") or "").split()


def _fine(name: str, value: str) -> bool:
    if name == "id":
        return _ID.fullmatch(value) is not None
    if name == "href":
        return value.startswith("#section-") and _ID.fullmatch(value[1:]) is not None
    return name in ("class", "colspan", "rowspan")


def _coverage(line: SummaryLine) -> str:
    if line.covered < line.of:
        text = (
            f"{line.covered:,} of {line.of:,} rows were looked at by this suite: those of some "
            "members, whom a hash of their ids chooses, the same in every run."
        )
    else:
        text = f"All {line.of:,} rows were looked at by this suite."
    return (
        f'<p class="covered">{text} {_FEWER} Every row of the extract is checked by the run '
        "itself: the counts of the report are complete. Percentages are of the values that were "
        "looked at. No values are shown here, only counts.</p>"
    )


def _index(lines: Sequence[SummaryLine], run_name: str, run_time: datetime) -> str:
    rows = "".join(
        f'<tr><td><a href="{line.table}.html">{line.table}</a></td>'
        f"<td class=n>{line.of:,}</td><td class=n>{line.covered:,}</td>"
        f"<td class=n>{line.expectations}</td><td class=n>{line.passed}</td>"
        f'<td class="n {"bad" if line.passed < line.expectations else "good"}">'
        f"{line.expectations - line.passed}</td>"
        f'<td><a href="{line.table}-suite.html">rules</a></td></tr>'
        for line in lines
    )
    return (
        f'<p class="way">{_REPORT}</p><h1>Data Docs</h1>'
        f"<p>Run {escape(run_name)}, {run_time.isoformat(timespec='seconds')}. The rules of the "
        "report as suites of Great Expectations, one a table, run over the loaded rows. "
        f"{_FEWER}</p>"
        '<div class="scroll"><table><thead><tr><th>table</th>'
        "<th class=n>rows</th><th class=n>looked at</th>"
        "<th class=n>expectations</th><th class=n>met</th><th class=n>not met</th><th></th></tr>"
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #d5dae1; --soft: #f3f5f8;
  --blue: #1f5fa8; --bad: #a8321f; --good: #26734d }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ef; --paper: #14181f; --line: #333b47;
  --soft: #1d232c; --blue: #86b7ee; --bad: #f0907c; --good: #7fcfa6 } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif }
h1 { font-size: 1.5rem } h4, h5, h6 { font-size: 1rem; margin: .6rem 0 .2rem }
a { color: var(--blue) } p { margin: .4rem 0 }
.covered { background: var(--soft); border-left: 4px solid var(--blue); padding: .6rem .9rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } .scroll { overflow-x: auto }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .5rem; text-align: left;
  vertical-align: top }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.bad, .text-danger, .text-warning { color: var(--bad) } .good, .text-success { color: var(--good) }
.alert { border-bottom: 2px solid var(--line); padding: .3rem 0; margin-top: 1.2rem }
.fas { font-style: normal } .fa-check-circle::before { content: "\\2713" }
.fa-times::before { content: "\\2717" } .fa-exclamation-triangle::before { content: "!" }
.badge { background: var(--soft); border: 1px solid var(--line); border-radius: 3px;
  padding: 0 .3rem; font: 13px ui-monospace, monospace }
.cooltip .top, .sticky, .col-lg-2 { display: none }
@media print { body { max-width: none; padding: 0 } a { color: inherit } }
"""


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
