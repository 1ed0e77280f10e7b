"""Small directories of a payer."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.e2e.commands import rows_of, write_rows

Rows = Sequence[Mapping[str, str]]


def directory_rows(name: str = "small") -> dict[str, list[dict[str, str]]]:
    """Return the rows of a directory by the name of their file.

    Of the small one each row shows something once. In the spoiled one each fault stands once or
    twice, beside rows without one; its days are 30, 31, 90 and 91 before 2026-11-01.
    """
    folder = Path(__file__).parent / f"{name}_directory"
    return {path.stem: rows_of(path) for path in sorted(folder.glob("*.csv"))}


def write_directory(folder: Path, rows: Mapping[str, Rows]) -> Path:
    """Write a file a table, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, of_table in rows.items():
        headers = list(dict.fromkeys(header for row in of_table for header in row))
        write_rows(folder / f"{name}.csv", headers, of_table)
    (folder / "manifest.json").write_text('{"as_of": "2026-11-01"}', encoding="utf-8")
    return folder
