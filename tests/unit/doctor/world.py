"""What the doctor's tests share: the shipped elements, and small files."""

from functools import cache
from pathlib import Path

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.doctor.elements import Elements, read_elements
from etl.doctor.examination import Examination, ExaminedColumn, examine

GOLDEN = Path(__file__).parents[2] / "golden" / "doctor"


@cache
def elements() -> Elements:
    """Return the shipped elements, with no layout's headers among their names."""
    text = (shipped() / "doctor" / "elements.yaml").read_text(encoding="utf-8")
    return read_elements(text, "elements.yaml", read_crosswalks([shipped()]))


def examined(folder: Path, **files: str | bytes) -> Examination:
    """Write files, `members_csv` being `members.csv`, and return what the doctor finds."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        content = text if isinstance(text, bytes) else text.encode()
        (folder / f"{stem}.{ending}").write_bytes(content)
    return examine(folder, elements())


def named(found: Examination, file: str) -> dict[str, str]:
    """Return header -> element of one file; "?" for a question, "" for what is not named."""
    return {column.header: _told(column) for column in columns(found, file).values()}


def columns(found: Examination, file: str) -> dict[str, ExaminedColumn]:
    """Return header -> column of one file."""
    return {
        column.header: column for one in found.files if one.name == file for column in one.columns
    }


def _told(column: ExaminedColumn) -> str:
    return "?" if column.match.question else column.element
