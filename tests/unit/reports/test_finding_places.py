"""Every place of every finding, beside the report."""

import gzip
import random

import pyarrow as pa
import pytest

from etl.reports.finding_places import FindingPlaces
from etl.rows import FINDINGS_SCHEMA

FILES = ("claim.csv", "member, old.csv")
PLACES = [
    ("unknown-file", "*", None, None, None),
    *(("npi", "claim", 0, row, column) for row in (2, 9, 700) for column in ("b", "a")),
    *(("required", "claim", 0, row, "a") for row in range(2, 400)),
    ("ragged-row", "member", 1, 3, None),
]
"""Findings in the order of their tables, far enough apart for several blocks."""


def findings(places):
    names = FINDINGS_SCHEMA.names
    rows = [dict(zip(names, place, strict=True)) for place in places]
    return pa.Table.from_pylist(rows, schema=FINDINGS_SCHEMA)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("etl.reports.finding_places.BLOCK_ROWS", 100)


def written(folder, parts):
    places = FindingPlaces(folder / "work")
    for part in parts:
        places.add(findings(part))
    assert places.write(folder / "findings.csv.gz", FILES)
    return (folder / "findings.csv.gz").read_bytes()


def test_all_places_stand_in_the_order_of_files_and_rows(tmp_path):
    lines = gzip.decompress(written(tmp_path, [list(PLACES)])).decode().splitlines()
    assert lines[0] == "file,row,table,column,rule"
    assert lines[1] == ',,"*",,"unknown-file"'
    assert lines[2:5] == [
        '"claim.csv",2,"claim","a","npi"',
        '"claim.csv",2,"claim","a","required"',
        '"claim.csv",2,"claim","b","npi"',
    ]
    assert lines[-2:] == [
        '"claim.csv",700,"claim","b","npi"',
        '"member, old.csv",3,"member",,"ragged-row"',
    ]
    assert len(lines) == len(PLACES) + 1


@pytest.mark.parametrize("seed", range(5))
def test_the_bytes_do_not_follow_the_partitions(tmp_path, seed):
    whole = written(tmp_path / "whole", [list(PLACES)])
    shuffled = random.Random(seed).sample(PLACES, len(PLACES))
    parts = [list(shuffled[at : at + 37]) for at in range(0, len(shuffled), 37)]
    assert written(tmp_path / "parts", parts) == whole


def test_without_a_finding_there_is_no_file(tmp_path):
    places = FindingPlaces(tmp_path / "work")
    places.add(FINDINGS_SCHEMA.empty_table())
    assert not places.write(tmp_path / "findings.csv.gz", FILES)
    assert not (tmp_path / "findings.csv.gz").exists()


def test_what_an_attempt_that_died_left_is_not_counted(tmp_path):
    FindingPlaces(tmp_path / "work").add(findings(list(PLACES)))
    assert len(gzip.decompress(written(tmp_path, [list(PLACES)])).splitlines()) == 1 + len(PLACES)
