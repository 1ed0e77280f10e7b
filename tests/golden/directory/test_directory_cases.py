"""Small provider directories and the Plan-Net resources that they become.

Each folder of `cases/` holds rows (beside those of `cases/shared/`), the resources that they add
or change (`expected.json`) and what the case is for (`reason.txt`). After a change that is meant,
`python -m tests.golden.directory.test_directory_cases` writes the expected files anew: read the
diff.
"""

import csv
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.e2e.commands import converted, cpcds, done
from tests.e2e.directories import write_directory

CASES = Path(__file__).parent / "cases"
NAMES = sorted(path.name for path in CASES.iterdir() if path.name != "shared")


def rows_of(folder):
    found = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found[path.stem] = list(csv.DictReader(file))
    return found


def made(*folders):
    """Return what the rows of some folders become together."""
    rows = {}
    for folder in folders:
        for table, own in rows_of(folder).items():
            rows.setdefault(table, []).extend(own)
    with TemporaryDirectory() as work:
        extract = write_directory(Path(work) / "in", rows)
        done(cpcds("convert", extract, "--out", Path(work) / "out"))
        return json.loads(json.dumps(converted(Path(work) / "out"), default=float))


@pytest.fixture(scope="module")
def shared():
    return made(CASES / "shared")


def added(name, known):
    """Return the resources that a case has beside those of the shared rows."""
    return [one for one in made(CASES / "shared", CASES / name) if one not in known]


@pytest.mark.parametrize("name", NAMES)
def test_rows_become_these_resources(name, shared):
    expected = json.loads((CASES / name / "expected.json").read_text("utf-8"))
    assert expected
    assert added(name, shared) == expected


if __name__ == "__main__":
    before = made(CASES / "shared")
    for case in NAMES:
        text = json.dumps(added(case, before), indent=2, ensure_ascii=False)
        (CASES / case / "expected.json").write_text(f"{text}\n", "utf-8")
