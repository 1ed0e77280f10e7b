"""Cases of a test as data: tables in the TOML file beside the module, of the same name.

A table is a list of `[[name]]` sections, or `[name]` with `columns` and `rows`.
"""

import tomllib
from pathlib import Path

import pytest


def read_tables(test_file):
    """Return what is in the file beside a test module: rows as dicts, other keys as they are."""
    text = Path(test_file).with_suffix(".toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    for name, content in tables.items():
        if isinstance(content, dict) and content.keys() == {"columns", "rows"}:
            columns, rows = content.values()
            tables[name] = [dict(zip(columns, row, strict=True)) for row in rows]
    return tables


def table(test_file, name):
    """Return names and rows of a table, as `pytest.mark.parametrize` takes them.

    The key `case` names a row; a key that a row lacks is None.
    """
    rows = read_tables(test_file)[name]
    names = list(dict.fromkeys(key for row in rows for key in row if key != "case"))
    values = [pytest.param(*(row.get(key) for key in names), id=row.get("case")) for row in rows]
    return names, values
