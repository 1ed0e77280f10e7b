"""The whole job beside its rivals, in one run, on the same claims: `make bench-rivals`.

What is done in this process is measured in its processor time, in turns; other programs by the
clock or by what the system says that they took. Only ratios say anything, because machines are
shared and noisy; `make bench` has gates on some. With `--write` the table goes into
docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa

from benchmarks.__main__ import ORJSON, Claims
from benchmarks.jinja_rows import Rows
from benchmarks.rates import rates
from conformance.engine import UnavailableError, compiled
from etl.synth import Spec, write_extract

_PAGE: Final = Path(__file__).parents[1] / "docs" / "performance.md"
_BEGIN, _END = "<!-- rivals -->\n", "<!-- end of rivals -->\n"
_JINJA: Final = "stock Jinja2, row by row"
_JAVA_ROUNDS: Final = 8
_DISK_BYTES: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class Row:
    """A rival.

    Attributes:
        name: what it does.
        rate: EOBs a second.
        of: what the seconds are of.
    """

    name: str
    rate: float
    of: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    asked = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as folder:
        extract = Path(folder, "extract")
        write_extract(extract, Spec(members=asked.members, seed=1, since=date(2016, 1, 1)))
        claims = Claims.of(extract, Path(folder))
        found = _inside(claims, asked.rounds)
        rows = [Row(name, rate, "this process's processor") for name, rate in found.items()]
        rows += _outside(claims, extract, Path(folder))
        text = _table(claims, rows, found[ORJSON])
        print(text)
        if asked.write:
            page = _PAGE.read_text(encoding="utf-8")
            before, _, rest = page.partition(_BEGIN)
            _, _, after = rest.partition(_END)
            _PAGE.write_text(f"{before}{_BEGIN}{text}{_END}{after}", encoding="utf-8")


def _inside(claims: Claims, rounds: int) -> dict[str, float]:
    dicts = [orjson.loads(line) for line in claims.lines]
    some = Rows(dicts[:: max(1, len(dicts) // 1000)])
    return rates({**claims.ways(), _JINJA: lambda: len(some.render())}, rounds)


def _outside(claims: Claims, extract: Path, folder: Path) -> list[Row]:
    count = len(claims.lines)
    tree = ["--to", str(folder / "tree"), "--workers", "1"]
    cpcds = [sys.executable, "-c", "from etl.cli.main import main; main()"]
    plain = folder / "eobs.ndjson"
    plain.write_bytes(b"\n".join(claims.lines) + b"\n")
    rows = [
        Row(name, count / _processor([*cpcds, *arguments]), "all its processes' processors")
        for name, arguments in (
            (
                "`cpcds convert`, from CSV",
                ["convert", str(extract), "--out", str(folder / "out"), "--workers", "1"],
            ),
            ("`cpcds run`, validation and report included", ["run", str(extract), *tree]),
        )
    ]
    rows += _java(plain)
    rows.append(
        Row(
            "`gzip` of the same bytes",
            count / _processor(["gzip", "-k", str(plain)]),
            "its processor",
        )
    )
    copy = _clock(lambda: _called(["cp", str(plain), str(folder / "copy")]))
    rows.append(Row("`cp` of the same bytes", count / copy, "clock"))
    written = _clock(lambda: _write(folder / "disk"))
    size = plain.stat().st_size / count
    rows.append(Row("writing to the disk, synced", _DISK_BYTES / size / written, "clock"))
    return rows


def _java(plain: Path) -> list[Row]:
    """Return HAPI FHIR's row; none, aloud, where it cannot be had."""
    try:
        command = compiled()
    except UnavailableError as missing:
        print(f"skipped: HAPI FHIR's Java model: {missing}", file=sys.stderr)
        return []
    done = _called([*command, "bluebutton.Models", str(plain), str(_JAVA_ROUNDS)])
    rounds = [json.loads(line) for line in done.splitlines()]
    seconds = statistics.median(each["seconds"] for each in rounds[_JAVA_ROUNDS // 2 :])
    rate = rounds[0]["claims"] / seconds
    return [Row("HAPI FHIR's Java model, built and encoded", rate, "its thread's processor, warm")]


def _called(command: Sequence[str]) -> str:
    return subprocess.run(  # noqa: S603 - programs and arguments of this module
        command, check=True, capture_output=True, text=True
    ).stdout


def _processor(command: Sequence[str]) -> float:
    """Return the seconds of processor time that a command takes with all that it begins."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _called(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _clock(once: Callable[[], object]) -> float:
    began = time.monotonic()
    once()
    return time.monotonic() - began


def _write(path: Path) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for _ in range(_DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _table(claims: Claims, rows: Sequence[Row], reference: float) -> str:
    size = sum(map(len, claims.lines)) / len(claims.lines)
    lines = [
        f"{len(claims.lines):,} EOBs of {size / 1000:.1f} KB:",
        "",
        f"| | EOBs a second | of `{ORJSON}` | MB a second | seconds of |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.rate:,.0f} | {row.rate / reference:.3f} | "
        f"{row.rate * size / 1e6:,.0f} | {row.of} |"
        for row in sorted(rows, key=lambda row: -row.rate)
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
