"""What the process that reads and commits holds does not follow the number of members."""

import csv
import json
import os
import re
import subprocess
import sys
from datetime import date

import pytest

from benchmarks.process_tree import run_sampled
from etl.synth import Spec, write_extract
from tests.e2e.commands import SAMPLES, rows_of

FEW = 600
MANY = 3_000

_RUNS = """
import gc, json, sys, tracemalloc
from dataclasses import replace
from pathlib import Path
import pyarrow as pa
from etl.bootstrap import use_cases
from etl.bootstrap.settings import read_settings
from etl.local import workers
from etl.sources.parsing import delimited
from etl.sources.partition import ids, row_files

# Buffers and files so small that even the few fill them: then all that differs is members.
delimited.BLOCK_BYTES = 1 << 15
ids._MAX_PENDING = 1 << 10
row_files.BUFFER_BYTES, row_files.BYTES_PER_PARTITION = 1 << 18, 1 << 10
workers._JOBS_AHEAD = 1  # else more results wait in memory where this process is slowed down
options = use_cases.bulk_options
use_cases.bulk_options = lambda settings: replace(options(settings), file_bytes=1 << 18)
tracemalloc.start()
for extract in map(Path, sys.argv[1:]):
    settings = read_settings(
        None,
        target=str(extract.with_name("tree-of-" + extract.name)),
        report={"gx_rows": 0},
        run={"workers": 2, "partition_rows": 5_000},
    )
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    use_cases.run_extract(settings, extract, lambda event: None)
    traced = tracemalloc.get_traced_memory()[1] - before
    print(json.dumps([traced, pa.default_memory_pool().max_memory()]))
"""


@pytest.mark.slow
def test_memory_of_the_committing_process_does_not_grow_with_the_number_of_members(tmp_path):
    """The first of three runs in one process loads modules, rules and mappings."""
    extracts = []
    for name, members in (("first", 200), ("few", FEW), ("many", MANY)):
        extracts.append(tmp_path / name)
        write_extract(extracts[-1], Spec(members, seed=1, since=date(2024, 12, 1)))
    done = subprocess.run(
        [sys.executable, "-c", _RUNS, *map(str, extracts)],
        check=True,
        capture_output=True,
        text=True,
    )
    _, few, many = (json.loads(line) for line in done.stdout.splitlines())
    further = MANY - FEW
    assert many[0] - few[0] < 400 * further, "Python: more than 400 bytes for each further member"
    assert many[1] - few[1] < 400 * further, "Arrow: more than 400 bytes for each further member"


def run_measured(extract, tree, *arguments):
    command = [sys.executable, "-c", "from etl.cli.main import main; main()", "run"]
    command += [str(extract), "--to", str(tree), *arguments]
    return run_sampled(command, {**os.environ, "CPCDS_REPORT__GX_ROWS": "0"})


@pytest.mark.slow
def test_a_budget_is_kept_and_changes_no_block(tmp_path):
    """Of this extract, the processes of an unbounded run take more than twice as much together."""
    extract, budget = tmp_path / "in", 380_000_000
    write_extract(extract, Spec(800, seed=1, since=date(2016, 1, 1)))

    def run(name, *arguments):
        done = run_measured(extract, tmp_path / name, *arguments)
        assert done.code == 0, done.output
        return done.memory, {path.name for path in (tmp_path / name / "patients").glob("*/*")}

    unbounded, blocks = run("unbounded", "--workers", "2")
    bounded, same = run("bounded", "--memory", "380MB")
    assert bounded < budget < unbounded
    assert blocks == same
    assert len(blocks) > 1_000


def _write_member(folder, claims, lines):
    """Write an extract of one member, each claim of whom has as many lines."""
    folder.mkdir()
    names = ("member", "coverage", "claim", "claim_line", "claim_diagnosis")
    rows = {name: rows_of(SAMPLES / f"{name}.csv") for name in names}
    claim = next(one for one in rows["claim"] if one["claim_type"] == "professional")
    own = {
        name: [row for row in rows[name] if row["member_id"] == claim["member_id"]]
        for name in ("member", "coverage")
    }
    own |= {"claim": [claim]}
    for name in ("claim_line", "claim_diagnosis"):
        own[name] = [row for row in rows[name] if row["claim_id"] == claim["claim_id"]]
    line = own["claim_line"][0]
    own["claim_line"] = [{**line, "line_number": str(at)} for at in range(1, lines + 1)]
    for name, some in own.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(some[0]), lineterminator="\n")
            writer.writeheader()
            if "claim_id" not in some[0]:
                writer.writerows(some)
                continue
            for number in range(claims):
                writer.writerows({**row, "claim_id": f"K{number:06d}"} for row in some)


@pytest.mark.slow
def test_one_member_with_100_000_claim_lines_passes_or_is_refused(tmp_path):
    extract, budget = tmp_path / "in", 1_800_000_000
    _write_member(extract, 20_000, 5)

    arguments = (extract, tmp_path / "tree", "--workers", "1", "--memory")
    done = run_measured(*arguments, "700MB")
    assert done.code == 5, done.output
    assert re.search(
        r"error: one member has 1\d\d,\d{3} rows, .*; run.memory is 700 MB", done.output
    )
    assert not (tmp_path / "tree/current.json").exists()
    done = run_measured(*arguments, "1.8GB")
    assert done.code == 0, done.output
    assert re.search(r"all \d+ tables +(1\d\d,\d{3}) +\1 +0", done.output)
    assert done.memory < budget
