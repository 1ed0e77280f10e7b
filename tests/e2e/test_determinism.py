"""The same input gives the same bytes, however it is cut, ordered, and shared out."""

import json
from datetime import UTC, datetime
from random import Random

import pytest

from etl.bootstrap import use_cases
from tests.e2e.commands import (
    SAMPLES,
    columns_of,
    contents,
    copied,
    cpcds,
    done,
    published,
    rows_of,
    write_rows,
)

pytestmark = pytest.mark.slow

NIGHT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CUTS = ("100000", "90")
"""Rows to a partition; the samples have some 6,700."""
DATED = {"layout": "cpcds", "kind": "full", "as_of": "2025-12-31"}


def shuffled(extract, to, seed):
    """Return a copy of an extract with the rows of every file in another order, and columns."""
    chance = Random(seed)
    copied(extract, to)
    for path in sorted(to.glob("*.csv")):
        rows = rows_of(path)
        columns = columns_of(path)
        chance.shuffle(rows)
        chance.shuffle(columns)
        write_rows(path, columns, rows)
    return to


def convert(extract, out, rows):
    command = ("convert", extract, "--out", out, "--workers", "1")
    done(cpcds(*command, CPCDS_RUN__PARTITION_ROWS=rows))
    return contents(out)


def test_convert_gives_the_same_bytes_however_many_partitions_and_in_whatever_order(tmp_path):
    # The manifest of the samples states a day, which a copy without it would lack.
    plain = copied(SAMPLES, tmp_path / "plain")
    orders = [plain, shuffled(plain, tmp_path / "shuffled", 1)]
    for folder in orders:
        (folder / "manifest.json").write_text(json.dumps(DATED))
    made = [
        convert(extract, tmp_path / f"out{number}", rows)
        for number, (extract, rows) in enumerate(zip(orders, CUTS, strict=True))
    ]
    assert set(made[0]) >= {"Patient.ndjson", "ExplanationOfBenefit.ndjson", "Coverage.ndjson"}
    assert made[1] == made[0]


def unstamped(extract, to, *, but=""):
    """Return a copy of an extract without stamps, but for those of one table."""
    copied(extract, to)
    for path in to.glob("*.csv"):
        if path.stem != but and "last_updated" in (columns := columns_of(path)):
            rows = [{**row, "last_updated": ""} for row in rows_of(path)]
            write_rows(path, columns, rows)
    return to


@pytest.mark.parametrize(
    ("stamped", "manifest", "stamp"),
    [
        ("", DATED, {"instant": "2025-12-31T00:00:00Z", "source": "as_of"}),
        ("claim", None, None),
        ("", None, {"instant": "2026-01-02T03:04:05Z", "source": "clock"}),
    ],
    ids=["a day", "a stamp", "neither"],
)
def test_what_states_no_time_has_the_one_that_the_extract_says_or_else_that_of_its_first_run(
    small, tmp_path, monkeypatch, stamped, manifest, stamp
):
    monkeypatch.setattr(use_cases, "now", lambda: NIGHT)
    extract, target = unstamped(small, tmp_path / "in", but=stamped), tmp_path / "target"
    if manifest is not None:
        (extract / "manifest.json").write_text(json.dumps(manifest))
    if stamped:
        written = {row["last_updated"] for row in rows_of(extract / f"{stamped}.csv")}
        texts = {text if "T" in text else f"{text}T00:00:00Z" for text in written}
        newest = max(texts, key=datetime.fromisoformat)
        stamp = {"instant": newest, "source": "newest_stamp"}
    done(cpcds("run", extract, "--to", target, "--workers", "1"))
    (report,) = (target / "reports").glob("*/report.json")
    assert json.loads(report.read_text())["extract"]["default_stamp"] == stamp
    patients = [one for one in published(target) if one["resourceType"] == "Patient"]
    assert {one["meta"]["lastUpdated"] for one in patients} == {stamp["instant"]}
