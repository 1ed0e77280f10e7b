"""Plots are well-formed, the same every time, and show what the reports show and nothing more."""

import re
from dataclasses import replace
from datetime import date
from functools import cache
from xml.etree import ElementTree

import pytest

from etl.quality.totals.counts import RowCounts
from etl.quality.totals.directory import (
    ENTRIES,
    DirectoryQuality,
    EntryAges,
    NetworkCoverage,
)
from etl.quality.totals.money import MoneyKey
from etl.reports.directory import DirectoryFacts
from etl.reports.document import report_document
from etl.reports.earlier_reports import NIGHTS, RolledBack, nights_page
from etl.reports.plots import HeatMap, Plot
from tests.unit.reports.test_report import Page, report
from tests.unit.reports.test_small_cells import quarantined

SVG = "{http://www.w3.org/2000/svg}"
BARS = Plot("some-bars", "Claims", "Claims & more", ["a", "b"], {"one": [1, 2], "two": [3, 0]})
CELLS = HeatMap(
    "some-cells",
    "Cells",
    "Rows & cells",
    {"a": [0, 1], "b": [2]},
    ["x", "y", "z"],
    ["2 of 2", "1 of 1"],
)
LINES = Plot("some-lines", "Money", "Net", ["a", "b", "c"], {"one": [1.5, None, 2]}, kind="lines")


@pytest.mark.parametrize("plot", [BARS, LINES, CELLS])
def test_a_plot_is_well_formed_with_a_title_and_a_description(plot):
    root = ElementTree.fromstring(plot.svg())  # noqa: S314 - our own
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    ids = {str(each.get("id")): each.text for each in root if each.get("id")}
    assert list(ids.values()) == [plot.title, plot.description]
    assert str(root.get("aria-labelledby")).split() == list(ids)


@pytest.mark.parametrize("plot", [BARS, LINES])
def test_a_plot_has_the_colours_of_the_page_and_no_others(plot):
    drawn = plot.svg()
    assert "var(--plot-1)" in drawn
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []
    assert "<script" not in drawn
    assert "font-family" not in re.sub('font-family="inherit"', "", drawn)


def test_a_heat_map_has_a_cell_for_each_grade_of_each_row():
    drawn = CELLS.svg()
    assert drawn == CELLS.svg()
    paths = {
        colour: shape.count("M")
        for shape, colour in re.findall(r'<path d="([^"]*)"[^>]*fill: (var\(--heat-\d\))', drawn)
        if shape.count("M") > 0
    }
    assert paths == {f"var(--heat-{grade})": 1 for grade in range(3)}
    assert re.findall(r"#[0-9a-f]{6}\b", drawn) == []


def test_names_of_two_plots_of_a_page_do_not_meet():
    found = [re.findall(r'\bid="([^"]*)"', plot.svg()) for plot in (BARS, LINES)]
    assert len({*found[0], *found[1]}) == len(found[0]) + len(found[1])


@cache
def base():
    return report()


def night(number, **changes):
    name = f"release-{number:02d}"
    made = replace(base(), **{"run": name, "release": name, **changes})
    return report_document(replace(made, when=made.when.replace(day=1 + number % 28)))


def nights(count):
    return [night(number) for number in reversed(range(count))]


def test_the_page_of_all_reports_has_each_nights_verdict_and_leads_to_it():
    stopped = night(3, release=None)
    limit = {"limit": "fewer_rows", "holds": False}
    rolled = RolledBack("release-02", "2026-11-03T00:00:00Z", "release-00")
    page = nights_page([{**stopped, "limits": [limit]}, rolled, *nights(2)], ["older-1"])
    rows = re.findall(r"<tr><td.*?</tr>", page, re.DOTALL)
    assert "✗ stopped</span>: fewer_rows" in rows[0]
    assert "rolled back</span> to <code>release-00" in rows[1]
    assert "✓ published" in rows[2]
    for number in (0, 1, 3):
        assert f'href="release-{number:02d}/index.html"' in page
    assert 'href="older-1/index.html"' in page
    claims = stopped["tables"]["claim"]
    cells = re.findall(r'<td class="n">([^<]*)</td>', rows[0])
    assert cells[:4] == [str(claims["in"]), "0", str(claims["quarantined"]), "16.7 %"]


def test_the_page_of_all_reports_is_whole_loads_nothing_and_runs_nothing():
    text = nights_page(nights(NIGHTS), [])
    page = Page()
    page.feed(re.sub(r"<(path|use)([^>]*)/>", "", text))
    page.close()
    assert page.open == []
    assert page.loads == []
    assert len(page.ids) == len(set(page.ids))
    assert "default-src 'none'" in text
    assert not [link for link in page.links if re.match(r"[a-z]+:|//", link)]
    assert text == nights_page(nights(NIGHTS), [])


def test_figures_stand_as_a_table_beneath_their_plot():
    page = nights_page(nights(3), [])
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert [re.findall(r"<figcaption>(.*?)</figcaption>", one) for one in figures] == [
        ["Claims rejected, in percent of those that came in"],
        ["Findings"],
        ["Claims published"],
        ["Net amounts of claims"],
    ]
    for figure in figures:
        assert figure.count("<svg") + figure.count("nothing to plot") == 1
        body = figure.partition("<tbody>")[2]
        assert body.count("<tr>") == 3
    assert "16.67 %" in figures[0]
    assert "nothing to plot" in figures[-1]


def test_runs_of_one_day_are_told_apart_by_their_time():
    morning, evening = (
        {**night(0), "when": f"2026-11-01T{hour}:30:00+00:00"} for hour in ("09", "19")
    )
    page = nights_page([evening, morning], [])
    assert "<td>11-01\n09:30</td>" in page
    assert "<td>11-01</td>" in nights_page([night(1), morning], [])


def test_a_night_that_few_claims_changed_repeats_the_sum_before_it():
    """One page has all nights on it: of two sums the reader would have the difference."""
    key = MoneyKey("claim", "oral", "benefit")
    changed = [300, 3, 0, 8, 20, 0, 2]
    shown = [0, 0, 0, 0, 4, 5, 5]
    made = []
    for number, claims in enumerate(changed):
        cents = 500_00 + number
        money = replace(quarantined(0, 0), published_claims=99, net_claims=99, net=cents)
        money = replace(money, published=cents, source=cents)
        touched = {"ExplanationOfBenefit": {"added": 0, "changed": claims, "retracted": 0}}
        document = dict(night(number, money={key: money}))
        made.append(document | {"changes": {"resources": touched}})
    page = nights_page(made[::-1], [])
    table = page.rpartition("<tbody>")[2]
    assert re.findall(r"500\.0\d", table) == [f"500.0{number}" for number in shown]


def test_one_night_has_no_plot():
    assert "<svg" not in nights_page(nights(1), [])


def test_a_withheld_sum_is_a_gap_in_the_plot_and_in_its_table():
    key = MoneyKey("claim", "oral", "benefit")
    few = replace(quarantined(0, 0), published_claims=3, net_claims=3, net=777_77, published=777_77)
    few = replace(few, source=777_77)
    many = replace(few, published_claims=99, net_claims=99)
    for money, is_shown in ((few, False), (many, True)):
        page = nights_page([night(1, money={key: money}), night(0, money={key: money})], [])
        assert ("777.77" in page) is is_shown
        rows = re.findall(r"<tr>.*?</tr>", page.rpartition("<tbody>")[2])
        assert len(rows) == 2
        assert all(row.count("\N{EN DASH}") == (3 if is_shown else 4) for row in rows)


def test_nights_of_a_directory_speak_of_rows_and_older_reports_leave_a_gap():
    counts = {"network": RowCounts(rows_in=8, published=6, quarantined=2, superseded=0)}
    ages = tuple(EntryAges(name, 4, 1, 2, 1, 0, None) for name in list(ENTRIES)[:2])
    nothing = NetworkCoverage(*range(12))
    quality = DirectoryQuality(date(2026, 11, 1), ages, nothing, (), (), ())
    facts = {"counts": counts, "money": {}, "filled": {}, "directory": DirectoryFacts(quality)}
    older = {key: of for key, of in night(0, **facts).items() if key != "directory"}
    page = nights_page([night(1, **facts), older], [])
    rows = re.findall(r"<tr><td.*?</tr>", page, re.DOTALL)
    cells = [re.findall(r'<td class="n">([^<]*)</td>', row) for row in rows[:2]]
    assert [(each[:4], each[-1]) for each in cells] == [
        (["8", "6", "2", "25.0 %"], "2"),
        (["8", "6", "2", "25.0 %"], "\N{EN DASH}"),
    ]
    tables = re.findall(r"<tr><td>\d\d-\d\d</td>(.*?)</tr>", page, re.DOTALL)
    figures = [re.findall(r'<td class="n">([^<]*)</td>', each) for each in tables]
    assert ["\N{EN DASH}", "\N{EN DASH}"] in figures  # ages of the older night
    assert ["75.00 %", "25.00 %"] in figures
    assert ["2", "4", "0", "0"] in figures
    assert "claim" not in page.partition("</style>")[2].lower()
