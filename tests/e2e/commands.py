"""The `cpcds` command as a user calls it, and a look at what it left."""

import csv
import gzip
import hashlib
import io
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from etl.bootstrap import definition_compiler, definitions
from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import Settings
from etl.cli import main
from etl.mapping.plan import Plan
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import CLAIMS, DataModel
from etl.pipeline.definitions import Definitions
from tests.given.tables import read_tables

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "cpcds_samples"
COMMAND = (sys.executable, "-c", "from etl.cli import main; main()")
"""`cpcds` in a process of its own."""
NO_SUITES = {"CPCDS_REPORT__GX_ROWS": "0"}
"""Great Expectations takes seconds to load; most tests are about something else."""

ANY_CHANGE = read_tables(__file__)["any_change"]
"""Another extract may follow on the same target."""

LOADING = (
    "etl.bootstrap.extracts",
    "etl.bootstrap.inspections",
    "etl.bootstrap.opened_extract",
    "etl.bootstrap.explanations",
    "etl.cli.doctor",
    "etl.cli.layouts",
    "etl.cli.mapping",
    "etl.cli.references",
)
"""Modules that load definitions, but for those that check them."""

_made: dict[str, Definitions] = {}


def _compute_once(name: str) -> None:
    """Have a step of compiling computed once for equal plans: most settings share them."""
    compute, computed = getattr(definition_compiler, name), dict[bytes, Any]()

    def compute_once(plan: Plan, crosswalks: Mapping[str, Crosswalk]) -> Any:
        content = io.BytesIO()
        definitions._Pickler(content).dump((plan, dict(crosswalks)))
        key = content.getvalue()
        if key not in computed:
            computed[key] = compute(plan, crosswalks)
        return computed[key]

    setattr(definition_compiler, name, compute_once)


for _step in ("obligations", "must_support", "written_columns"):
    _compute_once(_step)
definitions._MOST_FILES = 60  # the many settings of tests leave each other's


def same_definitions(settings: Settings, model: DataModel = CLAIMS) -> Definitions:
    """Return the definitions of some settings, made once where a payer has no files of its own."""
    if settings.mappings:
        return load_definitions(settings, model)
    key = repr(
        (
            settings.payer,
            settings.rules,
            settings.limits,
            settings.id_key.get_secret_value(),
            settings.publish.view,
            settings.publish.plan_net,
            settings.claims,
            model.name,
        )
    )
    if key not in _made:
        _made[key] = load_definitions(settings, model)
    return _made[key]


@contextmanager
def definitions_made_once() -> Iterator[None]:
    """Keep definitions between commands: the same settings give the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        for module in LOADING:
            patch.setattr(f"{module}.load_definitions", same_definitions)
        yield


@dataclass(frozen=True, slots=True)
class Called:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The one error line; fails where there is not exactly one."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        return lines[0].removeprefix("error: ")


def cpcds(*arguments: str | Path, **environment: str) -> Called:
    """Call the command; an exception that it lets through is raised here."""
    result = invoke(*arguments, **{**NO_SUITES, **environment})
    assert "Traceback" not in result.output
    return Called(result.exit_code, result.stdout, result.stderr)


def invoke(*arguments: object, **environment: str) -> Result:
    """Call the command; an exception that it lets through is raised."""
    with definitions_made_once():
        return CliRunner().invoke(
            main, [str(one) for one in arguments], env=environment, catch_exceptions=False
        )


def done(called: Called) -> Called:
    """Return what was said by a command that went well."""
    assert called.code == 0, called.err
    return called


def current_release(target: Path) -> str:
    """Return the id of the release that readers see."""
    return str(json.loads((target / "current.json").read_text())["release"])


def current_manifest(target: Path) -> dict[str, Any]:
    """Return the manifest of the release that readers see."""
    path = target / "releases" / current_release(target) / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8"))


HIDDEN = (".", "runs/")


def contents(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder.

    Hidden ones are no result of a command, and records of runs hold how long each took.
    """
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not (name := path.relative_to(folder).as_posix()).startswith(HIDDEN)
    }


def published(target: Path) -> list[dict[str, Any]]:
    """Return every resource of the release that readers see, numbers as decimals."""
    return [one for _, lines in blocks(target) for one in lines if one["resourceType"] != HEADER]


def texts_of(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder by its path there, decompressed."""
    texts = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            text = gzip.decompress(data) if path.suffix == ".gz" else data
            texts[path.relative_to(folder).as_posix()] = text.decode("utf-8", "replace")
    return texts


HEADER = "Parameters"


def blocks(target: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """Yield every block below a target with its lines; one release is all that is there."""
    for folder in ("patients", "directory"):
        for path in sorted((target / folder).rglob("*.ndjson.gz")):
            text = gzip.decompress(path.read_bytes()).decode()
            yield path, [exact(line) for line in text.splitlines()]


def converted(folder: Path) -> list[dict[str, Any]]:
    """Return every resource of a folder of NDJSON, numbers as decimals."""
    return [
        exact(line)
        for path in sorted(folder.glob("*.ndjson"))
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]
    ]


def exact(line: str) -> dict[str, Any]:
    """Return what a line of JSON says, its numbers as they are written."""
    return json.loads(line, parse_float=Decimal)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, which may be compressed."""
    read = gzip.open if path.suffix == ".gz" else open
    with read(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def columns_of(path: Path) -> list[str]:
    """Return the header of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


def write_rows(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, str]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def copied(extract: Path, to: Path) -> Path:
    """Return a copy of an extract's own files, without its manifest."""
    to.mkdir()
    for path in extract.glob("*.csv"):
        shutil.copy(path, to)
    return to
