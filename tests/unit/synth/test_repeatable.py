"""The same arguments give the same bytes, and more members change nothing about the first ones."""

import os
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from etl.model.canonical_tables import DIRECTORY_TABLES
from etl.synth import Spec
from tests.unit.synth.written import MEMBER_TABLES, WORLD, WRITTEN, folder_of, hashes, world


@pytest.mark.parametrize("seed_of_hashes", ["0", "4711"])
def test_another_process_gives_the_same_bytes(tmp_path, seed_of_hashes):
    spec = Spec(members=12, seed=5, fault_rate=0.3)
    code = (
        "from pathlib import Path; from etl.synth import Spec, write_extract; "
        f"write_extract(Path({str(tmp_path)!r}), Spec(members=12, seed=5, fault_rate=0.3))"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": seed_of_hashes, "TZ": "Pacific/Apia"},
    )

    assert hashes(tmp_path) == hashes(folder_of(spec))


def test_the_first_members_of_a_larger_world_are_those_of_a_smaller_one():
    small, large = folder_of(replace(WORLD, members=20)), folder_of(WORLD)

    for table in MEMBER_TABLES:
        first = (small / f"{table}.csv").read_bytes()
        assert (large / f"{table}.csv").read_bytes().startswith(first), table
    assert len(world(WORLD)["claim"]) > len(world(replace(WORLD, members=20))["claim"])


def test_a_larger_world_of_one_region_has_the_same_directory():
    small, large = folder_of(replace(WORLD, members=20)), folder_of(WORLD)

    for table in DIRECTORY_TABLES:
        assert (small / f"{table}.csv").read_bytes() == (large / f"{table}.csv").read_bytes()


@pytest.mark.parametrize(
    "spec",
    [
        replace(WORLD, gzip=True),
        replace(WORLD, parts=3),
        replace(WORLD, gzip=True, parts=2),
    ],
)
def test_every_format_and_cut_says_the_same_rows(spec):
    assert world(spec) == world(WORLD)
    assert len(list(folder_of(spec).glob("claim-*"))) == (spec.parts if spec.parts > 1 else 0)


def test_parquet_says_the_same_rows_with_null_where_csv_is_empty():
    folder = folder_of(replace(WORLD, format="parquet"))

    for table in WRITTEN:
        rows = pq.read_table(folder / f"{table}.parquet").to_pylist()
        assert all(cell != "" for row in rows for cell in row.values())
        assert [
            {name: cell for name, cell in row.items() if cell is not None} for row in rows
        ] == world(WORLD)[table]


def test_a_compressed_file_holds_no_time_and_no_name():
    for path in folder_of(replace(WORLD, gzip=True)).glob("*.gz"):
        head = path.read_bytes()[:10]
        # RFC 1952: flags (a name is bit 3), then four bytes of modification time.
        assert head[:4] == b"\x1f\x8b\x08\x00"
        assert head[4:8] == b"\x00\x00\x00\x00"
