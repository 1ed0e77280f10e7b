"""Lineage through deltas: each cell leads to the row of the extract that brought it."""

import csv
import io
import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from etl.bootstrap.explanations import explainer_of
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import run_extract
from etl.errors import UsageError
from etl.pipeline.lineage.explain import Explainer
from etl.pipeline.sidecar.answers import SidecarExplainer
from etl.publish.reader import open_current, open_index, read_all
from etl.reports.lineage import HeaderSubject, ResourceSubject, RowSubject
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.integration.test_lineage import LAYOUTS, SINCE, silent

CLAIMS = "CPCDS_Claims.csv"
LOOKED_UP = "CPCDS_Coverages.csv"
"""File in which the layout looks up what claims lack: a delta of claims has it too."""
FEW = 5


def resources_in(tree):
    """Yield the resources of patients that readers see, but of every type five at most."""
    release = open_current(LocalStore(tree)).release
    seen = Counter()
    for unit in release.all_units():
        index = open_index(release.store, unit)
        for line in read_all(release.store, index):
            resource = json.loads(line)
            seen[resource["resourceType"]] += 1
            if seen[resource["resourceType"]] <= FEW:
                yield resource


class History(NamedTuple):
    """A target with a full extract and a delta on top of it, by their names in words."""

    settings: Settings
    extracts: dict[str, Path]
    resources: list[dict[str, Any]]
    with_extracts: Explainer | SidecarExplainer
    without: Explainer | SidecarExplainer


def history_of(folder):
    """Publish the folders `full` and `delta`."""
    settings = Settings(
        target=str(folder / "tree"),
        publish={"deltas": True, "bulk": False},
        report={"gx_rows": 0},
        run={"workers": 1},
        limits={"retracted_members": 1, "retracted_claims": 1, "money_change": 1000},
    )
    extracts = {}
    for name in ("full", "delta"):
        run_extract(settings, folder / name, silent)
        day = json.loads((folder / name / "manifest.json").read_text())["as_of"]
        extracts[f"{name} extract of {day}"] = folder / name
    with (
        explainer_of(settings, list(extracts.values()), silent) as with_extracts,
        explainer_of(settings, (), silent) as without,
    ):
        yield History(
            settings, extracts, list(resources_in(folder / "tree")), with_extracts, without
        )


@pytest.fixture(scope="module")
def canonical(tmp_path_factory):
    """The canonical layout: whatever changes for one member in two days."""
    folder = tmp_path_factory.mktemp("canonical")
    write_extract(folder / "full", Spec(members=1, seed=11, since=SINCE))
    write_extract(
        folder / "delta", Spec(members=1, seed=11, since=SINCE, change_rate=1, kind="delta", day=2)
    )
    yield from history_of(folder)


@pytest.fixture(scope="module")
def dialect(tmp_path_factory):
    """A payer's own layout: the delta sends all claims again, the last one first."""
    folder = tmp_path_factory.mktemp("dialect")
    for name, day in (("full", "2024-06-01"), ("delta", "2024-06-02")):
        shutil.copytree(LAYOUTS / "onyx-b" / "input", folder / name)
        manifest = {"layout": "onyx-b", "kind": name, "as_of": day}
        (folder / name / "manifest.json").write_text(json.dumps(manifest))
    for path in (folder / "delta").glob("*.csv"):
        header, *rows = path.read_text(encoding="utf-8-sig").splitlines()
        claims = [rows[-1], *rows[:-1]]
        covers = [row for row in rows if row.startswith("c-ada,")]
        sent = claims if path.name == CLAIMS else covers if path.name == LOOKED_UP else []
        path.write_text("".join(f"{line}\n" for line in (header, *sent)))
    yield from history_of(folder)


@pytest.fixture(params=["canonical", pytest.param("dialect", marks=pytest.mark.slow)])
def history(request):
    return request.getfixturevalue(str(request.param))


@cache
def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def cells(found):
    [resource] = found.resources
    return [raw for each in resource.origins for cell in each.cells for raw in cell.source]


@pytest.mark.slow
def test_each_cell_stands_in_the_extract_that_brought_its_row(history):
    seen = Counter()
    for resource in history.resources:
        subject = ResourceSubject(resource["resourceType"], resource["id"])
        found = history.with_extracts.explain(subject)
        [explained] = found.resources
        assert explained.agrees is True
        for cell in cells(found):
            row = rows_of(history.extracts[cell.extract] / cell.file)[cell.row - 2]
            assert row[cell.header] == cell.text
            seen[cell.extract] += 1
        # Without the extracts the same rows are named, but for those that a layout looks up.
        there = {(cell.extract, cell.file, cell.row) for cell in cells(found)}
        known = {
            (cell.extract, cell.file, cell.row) for cell in cells(history.without.explain(subject))
        }
        assert {place[1] for place in there - known} <= {LOOKED_UP}
    assert set(seen) == set(history.extracts)
    assert min(seen.values()) > 10


@pytest.mark.slow
def test_a_row_that_a_delta_sent_again_is_superseded_in_the_full_extract(dialect):
    [of_full, of_delta] = dialect.extracts
    number = rows_of(dialect.extracts[of_full] / CLAIMS)[2]["Claim unique identifier"]
    found = dialect.without.explain(HeaderSubject("claim", number))
    rows = {(row.extract, row.row, row.fate) for row in found.rows if row.table == "claim"}
    assert rows == {(of_delta, 2, "published"), (of_full, 4, "superseded")}
    newest = dialect.without.explain(RowSubject(CLAIMS, 2))
    assert {row.extract for row in newest.rows} == {of_delta}
    assert {each.resource for each in newest.resources} == {
        each.resource for each in found.resources
    }


def test_a_row_of_an_extract_is_asked_for_by_its_folder(dialect):
    [of_full, _] = dialect.extracts
    with explainer_of(dialect.settings, [dialect.extracts[of_full]], silent) as explainer:
        found = explainer.explain(RowSubject(CLAIMS, 4))
        assert {each.fate for each in found.rows if each.table == "claim"} == {"superseded"}
        member = explainer.explain(RowSubject("CPCDS_Members.csv", 2))
        assert {each.fate for each in member.rows if each.table == "member"} == {"published"}
        assert {each.extract for each in (*found.rows, *member.rows)} == {of_full}


@pytest.mark.slow
def test_a_row_that_deletes_is_said_to(tmp_path):
    write_extract(tmp_path / "full", Spec(members=1, seed=5, since=SINCE))
    shutil.copytree(tmp_path / "full", tmp_path / "delta")
    claims = (tmp_path / "full" / "claim.csv").read_text().splitlines()
    header, first = claims[0].split(","), claims[1].split(",")
    first[header.index("record_action")], first[header.index("last_updated")] = "D", ""
    for path in (tmp_path / "delta").glob("*.csv"):
        path.unlink() if path.name != "claim.csv" else None
    (tmp_path / "delta" / "claim.csv").write_text(f"{claims[0]}\n{','.join(first)}\n")
    manifest = {"kind": "delta", "as_of": "2030-01-01"}
    (tmp_path / "delta" / "manifest.json").write_text(json.dumps(manifest))
    history = next(history_of(tmp_path))
    found = history.without.explain(HeaderSubject("claim", first[0]))
    fates = {row.table: row.fate for row in found.rows if row.extract.startswith("full")}
    assert set(fates.values()) == {"superseded"}
    [deleting] = [row for row in found.rows if row.extract.startswith("delta")]
    assert (deleting.fate, deleting.file, deleting.row) == ("deletes", "claim.csv", 2)
    assert found.resources == ()


@pytest.mark.slow
def test_what_no_extract_has_is_refused(dialect, tmp_path):
    with pytest.raises(UsageError, match=r"have no file x\.csv"):
        dialect.without.explain(RowSubject("x.csv", 2))
    with pytest.raises(UsageError, match="starts at row 99 of"):
        dialect.without.explain(RowSubject(CLAIMS, 99))
    write_extract(tmp_path, Spec(members=1, seed=1, since=SINCE))
    with (
        pytest.raises(
            UsageError, match="is not one of the extracts that the release was made from"
        ),
        explainer_of(dialect.settings, [tmp_path], silent),
    ):
        pass
