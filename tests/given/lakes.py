"""Tables of a lake, made of the files of an extract, and the `extract.toml` that names them."""

import csv
import datetime
import decimal
import json
import re

import pyarrow as pa
from deltalake import write_deltalake


def as_tables(extract):
    """Return the files of an extract as tables: dates, amounts and numbers by their types."""
    found = {}
    for path in sorted(extract.glob("*.csv")):
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
        columns = {}
        for at, name in enumerate(rows[0]):
            cells = [row[at] or None for row in rows[1:]]
            filled = [cell for cell in cells if cell]
            columns[name] = pa.array(cells, pa.string())
            if filled and all(_is(datetime.date.fromisoformat, cell) for cell in filled):
                columns[name] = pa.array(
                    [cell and datetime.date.fromisoformat(cell) for cell in cells], pa.date32()
                )
            elif filled and all(re.fullmatch(r"-?\d+\.\d\d", cell) for cell in filled):
                columns[name] = pa.array(
                    [cell and decimal.Decimal(cell) for cell in cells], pa.decimal128(18, 2)
                )
        found[path.stem] = pa.table(columns)
    return found


def _is(convert, cell):
    try:
        return len(cell) == 10 and bool(convert(cell))
    except ValueError:
        return False


def write_lake(place, tables, options=None):
    """Write Delta tables below a folder or an address, each in two versions."""
    for name, rows in tables.items():
        half = rows.num_rows // 2
        write_deltalake(f"{place}/{name}", rows.slice(half), storage_options=options)
        write_deltalake(
            f"{place}/{name}", rows.slice(0, half), mode="append", storage_options=options
        )


def toml_of(folder, extract, files, more=""):
    said = json.loads((extract / "manifest.json").read_text())
    facts = "".join(
        f"{key} = {said[key]!r}\n" for key in ("layout", "kind", "as_of", "payer") if said.get(key)
    )
    path = folder / "extract.toml"
    tables = "".join(f"[files.{name}]\n{text}\n" for name, text in files.items())
    path.write_text(facts + tables + more)
    return path
