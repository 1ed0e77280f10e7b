"""Extracts as they were written, read back with nothing but the standard library."""

import atexit
import csv
import gzip
import hashlib
import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import Spec, write_extract

Row = dict[str, str]
WRITTEN = list(TABLES)
MEMBER_TABLES = [name for name in WRITTEN if name == "member" or TABLES[name].owner]
"""The tables of members, their claims and their prior authorizations."""


@dataclass(frozen=True)
class Placed:
    """A row and where it stands; the header is row 1."""

    file: str
    number: int
    cells: Row


def table_of(name: str) -> str:
    return name.partition(".")[0].partition("-")[0]


def rows_of_file(path: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield row number, headers and cells, whatever the count of the cells."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    reader = csv.reader(io.StringIO(data.decode(), newline=""), delimiter=",")
    headers = next(reader)
    for number, cells in enumerate(reader, start=2):
        yield number, headers, cells


def read(folder: Path) -> dict[str, list[Placed]]:
    """Return the rows of every table, absent cells left out, ragged rows too."""
    tables: dict[str, list[Placed]] = {name: [] for name in WRITTEN}
    for path in sorted(folder.iterdir()):
        table = table_of(path.name)
        if table not in TABLES:
            continue
        tables.setdefault(table, [])
        for number, headers, cells in rows_of_file(path):
            row = {name: cell for name, cell in zip(headers, cells, strict=False) if cell}
            tables[table].append(Placed(path.name, number, row))
    return tables


def plain(tables: dict[str, list[Placed]]) -> dict[str, list[Row]]:
    return {name: [placed.cells for placed in rows] for name, rows in tables.items()}


def keyed(rows: list[Row], table: str) -> dict[tuple[str, ...], Row]:
    return {tuple(row[part] for part in TABLES[table].key): row for row in rows}


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


@cache
def folder_of(spec: Spec) -> Path:
    """Return a folder that holds the spec's extract; written once in a test run, never changed."""
    out = Path(mkdtemp(prefix="synth-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    write_extract(out, spec)
    return out


@cache
def world(spec: Spec) -> dict[str, list[Row]]:
    """Return the rows of a spec's extract."""
    return plain(read(folder_of(spec)))


WORLD = Spec(members=60, seed=5, prior_auth_rate=1)
"""A clean world that many tests look at."""
