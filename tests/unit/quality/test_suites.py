"""Suites come from the rules, agree with the findings, show no value and load nothing."""

import importlib
import os
import re
import shutil
import sys
import types
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from etl.columns.places import table_places
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.quality.check import check_rows
from etl.quality.checks.cascade import DecidedRows, decide_rows
from etl.quality.checks.frames import RuleContext
from etl.quality.suites import expectations
from etl.quality.suites.expectations import SuiteResult, run_suites
from etl.quality.suites.plan import plan_suite
from etl.quality.suites.sample import Sample, Share, SuiteRows
from etl.quality.totals.counts import add_counts
from etl.rows import no_findings
from tests.given.tables import read_tables
from tests.unit.quality.world import (
    LISTED,
    KeysInMemory,
    changed_world,
    run,
    standard_book,
    tables,
    world,
)

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
MARK = "ZZSECRETZZ"


def spoiled():
    """Return a world with many faults, every value of it marked."""
    return changed_world(read_tables(__file__)["spoiled"])


def test_a_suite_has_the_rules_that_the_library_can_check_by_itself():
    assert all(plan_suite(standard_book(), table).expectations for table in TABLES)
    wanted = plan_suite(standard_book(), "claim_line").expectations
    forms = {each.rule.id: each.form for each in wanted}
    assert forms["required"] == "not-null"
    assert forms["date-sentinel"] == "not-in-set"
    assert forms["revenue-shape"] == "regex"
    assert forms["lost-zero-ndc"] == "not-regex"
    assert forms["line-date-order"] == "pair"
    assert forms["duplicate-conflict"] == "unique"
    # A second rule about a column whose cells the first one blanked sees less than was read.
    assert "ndc-length" not in forms
    # A condition is beyond a plain expectation.
    assert "cpt-shape" not in forms


def decided(of):
    context = RuleContext(standard_book(), KeysInMemory(), LISTED)
    return decide_rows(check_rows(tables(of), no_findings(), context))


def sample(of, folder, most=None):
    """Write the sample of a world: all rows, or the first ones of every table.

    Those belong to a member whose hash begins with a zero bit, and all others to one of another.
    """
    first, rest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for table in tables(of).values():
        places = table_places(table)
        first.append(places[:most])
        rest.append(places[len(first[-1]) :])
    # One source row makes rows of several tables.
    chosen = np.unique(np.concatenate(first))
    others = np.setdiff1d(np.concatenate(rest), chosen)
    owners = np.repeat(np.array([0, 2**64 - 1], np.uint64), [len(chosen), len(others)])
    write = Sample(Share(0 if most is None else 1))
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, pieces in write(decided(of), np.concatenate([chosen, others]), owners).items():
        files[name] = folder / name
        files[name].write_bytes(b"".join(pieces))
    return files


def suite_rows(of, folder, *tables):
    """Return all rows of a world, or those of some tables."""
    files = sample(of, folder)
    wanted = {f"sample-{table}" for table in tables} or set(files)
    unit = {name: path for name, path in files.items() if name in wanted}
    return SuiteRows.open([unit], run(of).counts, standard_book(), Share(0))


def test_rows_that_are_not_in_the_sample_are_counted_and_not_kept(tmp_path):
    of = spoiled()
    units = [sample(of, tmp_path, 4), {"rejected-00000": tmp_path / "none"}]
    twice = {name: add_counts([{name: each}] * 2)[name] for name, each in run(of).counts.items()}
    rows = SuiteRows.open(units, twice, standard_book(), Share(1))
    assert rows.covered["claim"] == 4
    assert rows.row_counts["claim"] == 14
    assert rows.rows("claim").num_rows == 4


def test_a_share_is_the_largest_part_that_has_no_more_rows_than_wanted():
    assert Share.at_most(2000, 2000) == Share(0)
    assert Share.at_most(2001, 2000) == Share(1)
    assert Share.at_most(300_000, 2000) == Share(8)
    hashes = np.random.default_rng(1).integers(0, 2**64, 20_000, dtype=np.uint64)
    assert Share(0).includes(hashes).all()
    assert 2300 < np.count_nonzero(Share(3).includes(hashes)) < 2700
    assert (Share(2).includes(hashes) | ~Share(3).includes(hashes)).all(), (
        "a smaller share is a part"
    )


def test_rows_have_one_digest_however_they_come(tmp_path):
    of = spoiled()
    whole, first = sample(of, tmp_path / "whole"), sample(of, tmp_path / "first", 4)

    def digests(*units):
        rows = SuiteRows.open(units, run(of).counts, standard_book(), Share(0))
        return {table: rows.digest(table) for table in rows.covered}

    assert digests(whole, first) == digests(first, whole)
    assert digests(whole)["claim"] != digests(first)["claim"]


def test_another_version_of_the_library_makes_another_digest(tmp_path):
    rows = suite_rows(spoiled(), tmp_path)
    assert rows.digest("claim", "1.0") == rows.digest("claim", "1.0")
    assert rows.digest("claim", "1.0") != rows.digest("claim", "1.1")


@pytest.mark.parametrize("change", [{"patient_account_number": "7"}, {"type_of_bill": "zz"}])
def test_a_cell_that_a_suite_looks_at_or_a_rule_that_fails_makes_another_digest(change, tmp_path):
    found: list[str] = []
    for of in (world(), world()):
        of["claim"][2] |= change if found else {}
        found.append(suite_rows(of, tmp_path).digest("claim"))
    assert (found[0] != found[1]) == ("type_of_bill" in change)


@dataclass(frozen=True)
class Docs:
    folder: Path
    decided: DecidedRows
    results: tuple[SuiteResult, ...]
    unexpected: dict[tuple[str, str, str], int]
    progress: str


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """Run the suites once, as the pipeline does."""
    folder = tmp_path_factory.mktemp("docs")
    yield _run_here(folder)
    shutil.rmtree(folder)


def _run_here(folder):
    said = StringIO()
    work = folder.with_name(f"{folder.name}-work")
    with redirect_stderr(said), redirect_stdout(said):
        rows = suite_rows(spoiled(), work)
        results = run_suites(rows, folder / "pages", run_name="run-1", run_time=WHEN)
    shutil.rmtree(work)
    unexpected = {
        (suite.table, found.rule, found.columns): found.unexpected
        for suite in results
        for found in suite.expectations
        if found.unexpected
    }
    return Docs(folder, decided(spoiled()), results, unexpected, said.getvalue())


@pytest.mark.slow
def test_suites_and_findings_count_the_same_failures(docs):
    counted: dict[tuple[str, str, str], set[int]] = {}
    work = docs.decided.work
    for table, frame in work.frames.items():
        for wanted in plan_suite(standard_book(), table).expectations:
            column = wanted.columns[0].removesuffix(" (as read)")
            for failure in work.failures:
                mine = failure.table == table and work.book.rules[failure.rule] == wanted.rule
                if mine and failure.column in (column, None):
                    places = failure.at[frame.whole_rows[failure.at]]
                    key = (table, wanted.rule.id, ", ".join(wanted.columns))
                    counted.setdefault(key, set()).update(places.tolist())
    counted = {key: places for key, places in counted.items() if places}
    assert {key: len(places) for key, places in counted.items()} == docs.unexpected
    assert len(docs.unexpected) > 10
    assert {key[1] for key in docs.unexpected} >= {
        "required",
        "date-sentinel",
        "duplicate-conflict",
    }


def test_no_value_of_a_member_is_in_anything_that_is_written(docs):
    written = [path for path in docs.folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert MARK in repr(spoiled())
    for path in written:
        assert MARK not in path.read_text("utf-8"), path.name
        assert MARK not in path.name
    assert MARK not in docs.progress


def test_no_page_can_load_anything(docs):
    paths = list((docs.folder / "pages").iterdir())
    assert paths
    for path in paths:
        assert path.suffix == ".html"
        page = path.read_text("utf-8")
        assert not re.search(r"https?:|//[a-z]|<script|<link|<img|<iframe|url\(|@import", page)
        assert "default-src 'none'" in page
        for target in re.findall(r'href="([^"]*)"', page):
            own = target.startswith("#") or target == "../index.html"
            assert own or (path.parent / target).is_file(), target


@pytest.mark.slow
def test_pages_say_how_many_rows_were_looked_at(docs):
    page = (docs.folder / "pages" / "claim.html").read_text("utf-8")
    assert "This suite checked all 7 rows." in page
    index = (docs.folder / "pages" / "index.html").read_text("utf-8")
    assert "run-1" in index
    assert "2026-01-02T03:04:00+00:00" in index


def test_pages_lead_back_and_say_what_no_suite_looks_at(docs):
    for path in (docs.folder / "pages").iterdir():
        page = path.read_text("utf-8")
        assert '<a href="../index.html">Report</a>' in page, path.name
        assert "The report counts more rows if some were superseded" in page, path.name


def test_a_page_has_a_row_for_each_expectation(docs):
    for suite in docs.results:
        page = (docs.folder / "pages" / f"{suite.table}.html").read_text("utf-8")
        rows = re.findall(r"<tr><td><code>(.*?)</code>.*?</tr>", page, re.DOTALL)
        assert rows == [found.rule for found in suite.expectations]
    claims = (docs.folder / "pages" / "claim.html").read_text("utf-8")
    conflict = r"duplicate-conflict</code>.*?>7</td>\s*<td class=\"n bad\">2</td>"
    assert re.search(conflict, claims, re.DOTALL)


def test_no_progress_bar_and_no_chatter(docs):
    assert docs.progress == ""


def test_the_same_rows_give_the_same_pages(tmp_path):
    def pages(folder):
        rows = suite_rows(spoiled(), folder, "claim_note")
        run_suites(rows, folder / "pages", run_name="r", run_time=WHEN)
        return {path.name: path.read_bytes() for path in (folder / "pages").iterdir()}

    assert pages(tmp_path / "one") == pages(tmp_path / "two")


@pytest.mark.parametrize("before", [None, "true"])
def test_the_environment_is_what_it_was(before, tmp_path, monkeypatch):
    if before is None:
        monkeypatch.delenv("GX_ANALYTICS_ENABLED", raising=False)
    else:
        monkeypatch.setenv("GX_ANALYTICS_ENABLED", before)
    rows = suite_rows(spoiled(), tmp_path, "claim_note")
    run_suites(rows, tmp_path / "pages", run_name="r", run_time=WHEN)
    assert os.environ.get("GX_ANALYTICS_ENABLED") == before


@dataclass
class KnownSuites:
    """Returns results that are known, and notes which suites it was to run."""

    results: Mapping[str, SuiteResult]
    asked: list[str] = field(default_factory=list)

    def __call__(self, runs):
        self.asked.extend(run.suite.table for run in runs)
        return [self.results[run.suite.table] for run in runs]


def test_a_suite_that_ran_over_the_same_rows_before_is_not_run_again(docs, tmp_path):
    known = {result.table: result for result in docs.results}
    each = KnownSuites(known)

    def pages(name, known):
        rows, out = suite_rows(spoiled(), tmp_path / "rows"), tmp_path / name
        again = run_suites(rows, out, run_name="run-1", run_time=WHEN, prior=known, runner=each)
        assert again == docs.results
        return {path.name: path.read_bytes() for path in out.iterdir()}

    first = {path.name: path.read_bytes() for path in (docs.folder / "pages").iterdir()}
    assert pages("same", known) == first
    assert not each.asked
    other = {**known, "claim": replace(known["claim"], digest="of other rows")}
    assert pages("other", other) == first
    assert each.asked == ["claim"]


def test_the_library_finds_no_pyspark_and_others_do_afterwards(monkeypatch):
    """Loaded without grpc, a part of pyspark calls `sys.exit`."""
    spark, part = types.ModuleType("pyspark"), types.ModuleType("pyspark.sql")
    monkeypatch.setitem(sys.modules, "pyspark", spark)
    monkeypatch.setitem(sys.modules, "pyspark.sql", part)
    with expectations.silence_library(), pytest.raises(ModuleNotFoundError):
        importlib.import_module("pyspark.sql")
    assert sys.modules["pyspark"] is spark
    assert sys.modules["pyspark.sql"] is part
