"""Every element comes from cells that stand in the payer's files where they are said to."""

import csv
import json
import shutil
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etl.bootstrap.opened_extract import opened
from etl.bootstrap.settings import Settings
from etl.model.canonical_tables import TABLES
from etl.pipeline.lineage.explain import Explainer
from etl.pipeline.one_off import convert
from etl.reports.lineage import ResourceSubject
from etl.sources.files.listed_files import SourceFile
from etl.synth import Spec, write_extract
from tests.unit.sources.dialects import OWN

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
LAYOUTS = ROOT / "tests/golden/layouts"
NOON = datetime(2024, 7, 1, 12, tzinfo=UTC)
SINCE = date(2023, 1, 1)
FAST = ("onyx-b", "language")
"""Cases of the fast tests: a layout that ships, one with every construct."""
SLOW = ("canonical", "cms-rif-synthea", "records", "tuva-input")
"""Cases of a landing besides: the canonical layout, and one of each other kind of file."""
FOUND_BY_MBI = (("prior_auth", "member_id"), ("prior_auth", "coverage_id"))
"""A query finds the member and the coverage in another file."""
COPIED = ("claim_id", "member_id", "coverage_id", "ndc", "service_code", "provider_id")
"""Columns that the queries of a shipped layout take as they are."""
NAMES = ("canonical", *sorted(path.name for path in LAYOUTS.iterdir() if path.is_dir()))


def layout_case(name, fast):
    """Return the case of a layout, marked by how seldom it is run."""
    if name in fast:
        return pytest.param(name)
    marks = [pytest.mark.slow] if name in SLOW else [pytest.mark.slow, pytest.mark.long]
    return pytest.param(name, marks=marks)


CASES = [layout_case(name, FAST) for name in NAMES]


def silent(_event):
    pass


def extract_of_layout(name, folder, spec):
    """Return an extract of a layout, or a synthetic one, and the folder of its mappings."""
    golden = LAYOUTS / name
    if name == "canonical":
        write_extract(folder / "extract", spec)
        for needless in ("faults.csv", "manifest.json"):
            (folder / "extract" / needless).unlink(missing_ok=True)
        return folder / "extract", OWN
    if not (golden / "layout.yaml").exists():
        return golden / "input", OWN
    (folder / "layouts").mkdir()  # the layout does not ship
    shutil.copy(golden / "layout.yaml", folder / "layouts" / f"{name}.yaml")
    return golden / "input", folder


class Case(NamedTuple):
    """An extract that is explained, and what is made of it."""

    extract: Path
    files: dict[str, SourceFile]
    explainer: Explainer
    resources: list[dict[str, Any]]


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    spec = Spec(members=1, seed=5, since=SINCE)
    extract, mappings = extract_of_layout(request.param, folder, spec)
    with opened(Settings(mappings=(mappings,)), extract, silent) as job:
        convert(job.context(folder / "converting", NOON), folder / "out")
        yield Case(
            extract,
            {file.title: file for file in job.extract.named_files if not file.query},
            Explainer(job.context(folder / "work", NOON), None),
            list(resources_in(folder / "out")),
        )


@cache
def cells_of(folder, file):
    """Return row number -> cells by header; lines of other types of record are cut as well."""
    path = folder / (file.stored or file.name)
    if file.types:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return {number: dict(cut(line, file)) for number, line in enumerate(lines, 1) if line}
    with path.open(encoding="utf-8-sig", newline="") as stream:
        if not file.form.delimiter:  # read by the queries of a layout
            delimiter = "|" if "|" in stream.readline() else ","
            stream.seek(0)
            return dict(enumerate(csv.DictReader(stream, delimiter=delimiter), 2))
        plain = csv.DictReader(stream, delimiter=file.form.delimiter, quoting=csv.QUOTE_NONE)
        quoted = csv.DictReader(stream, delimiter=file.form.delimiter)
        return dict(enumerate(quoted if file.form.quoting else plain, 2))


def cut(line, file):
    if not file.widths:
        [cells] = csv.reader([line], delimiter=file.form.delimiter)
        yield from zip(file.columns, cells, strict=False)
        return
    for header, width in zip(file.columns, file.widths, strict=True):
        yield header, line[:width]
        line = line[width:]


def resources_in(folder):
    for path in sorted(folder.glob("*.ndjson")):
        yield from map(json.loads, path.read_text().splitlines())


def test_every_element_is_explained_by_cells_that_stand_where_it_is_said(case):
    assert {one["resourceType"] for one in case.resources} >= {"Patient", "Coverage"}
    looked_up = 0
    without = set()
    for resource in case.resources:
        subject = ResourceSubject(resource["resourceType"], resource["id"])
        [found] = case.explainer.explain(subject).resources
        for origin in found.origins:
            for cell in origin.cells:
                for raw in cell.source:
                    row = cells_of(case.extract, case.files[raw.file])[raw.row]
                    assert row[raw.header] == raw.text
                    looked_up += 1
                if cell.query:  # no cell is known: the row is one that the query names
                    row = cells_of(case.extract, case.files[cell.file])[cell.row]
                    is_found = (cell.table, cell.column) in FOUND_BY_MBI
                    is_copied = cell.column in COPIED and not is_found
                    assert not is_copied or cell.value in row.values()
                    assert (cell.source, cell.layout) == ((), "")
                    looked_up += 1
                elif not cell.source and not cell.derived and cell.file and not cell.layout:
                    without.add((cell.table, cell.column))
    assert looked_up > 20
    assert {key for key in without if key[0] in TABLES} == set()
