"""A release names the rows that it was made of when its extract is gone."""

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import NamedTuple

import pytest

from etl.bootstrap.explanations import explainer_of
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import run_extract
from etl.errors import StoreError, UsageError
from etl.model.canonical_tables import HEADER_OF, KEYS
from etl.pipeline.lineage.explain import Explainer
from etl.pipeline.sidecar.answers import SidecarExplainer
from etl.pipeline.sidecar.pieces import SIDECAR, from_bytes
from etl.publish.history import rollback
from etl.publish.prune import prune
from etl.publish.reader import Release, open_current, open_index
from etl.publish.verify import verify
from etl.reports.lineage import HEADER_SUBJECTS, HeaderSubject, ResourceSubject, RowSubject
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.e2e.commands import rows_of
from tests.integration.mutated import read_tables, write_tables
from tests.integration.nights import worked_on
from tests.integration.test_lineage import NAMES, extract_of_layout, layout_case, silent

FAST = ("onyx-b", "cms-prauc")
"""A layout of a payer with several files and rows that it looks up; one of prior authorizations."""
CASES = [layout_case(name, FAST) for name in NAMES]

RECENT = date(2024, 7, 1)


class Case(NamedTuple):
    """A published extract, and what answers with and without it."""

    release: Release
    with_extract: Explainer
    without: SidecarExplainer


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sidecar")
    spec = Spec(members=2, seed=5, since=RECENT, fault_rate=0.1)
    extract, mappings = extract_of_layout(request.param, folder, spec)
    settings = Settings(
        target=str(folder / "tree"),
        mappings=(mappings,),
        publish={"bulk": False},
        report={"gx_rows": 0},
        run={"workers": 1},
        limits={"rejected_claims": 1, "unowned_rows": 1000},
    )
    run_extract(settings, extract, silent)
    with (
        explainer_of(settings, [extract], silent) as with_extract,
        explainer_of(settings, (), silent) as without,
    ):
        release = open_current(LocalStore(folder / "tree")).release
        yield Case(release, with_extract, without)


def names_in(release):
    """Yield all resources, those of the directory too."""
    units = [*release.all_units(), *(unit for unit in release.manifest.directory if unit)]
    for unit in units:
        index = open_index(release.store, unit)
        for kind, rows in index.types.items():
            yield from (ResourceSubject(kind, index.ids[row]) for row in rows)


def few(names):
    """Yield all patients, and of other resources one in eight: the same ones each night."""
    for name in names:
        if name.resource_type == "Patient" or name.logical_id[0] in "abcd":
            yield name


def places(rows):
    return {(row.file, row.row) for row in rows}


def cells(found):
    """Return the canonical rows behind all elements of a resource, which is the published one."""
    [resource] = found.resources
    assert resource.agrees is True
    return {
        (cell.file, cell.row or 0)
        for origin in resource.origins
        for cell in origin.cells
        if cell.file is not None
    }


def test_every_resource_is_made_of_the_rows_that_the_extract_says(case):
    compared = 0
    for subject in names_in(case.release):
        there = cells(case.with_extract.explain(subject))
        if not there:  # a provider without a row
            with pytest.raises(UsageError, match="the release keeps no row position for"):
                case.without.explain(subject)
            continue
        found = case.without.explain(subject)
        [resource] = found.resources
        assert (found.through, resource.resource) == ("sidecar", str(subject))
        assert there <= places(resource.rows)
        # And no other but rows of the same claim or prior authorization, member and coverage.
        for row in resource.rows:
            if (row.file, row.row) not in there and row.table in HEADER_OF:
                touched = case.with_extract.explain(RowSubject(row.file, row.row)).resources
                assert {each.resource for each in touched} <= {str(subject)}
        compared += 1
    assert compared > 2


def test_every_header_has_the_rows_and_the_fates_that_the_extract_says(case):
    subjects = header_subjects(case.with_extract)
    for subject in subjects:
        there, found = (each.explain(subject) for each in (case.with_extract, case.without))
        assert facts(found) == facts(there)
        assert {one.resource for one in found.resources} == {
            one.resource for one in there.resources
        }
    assert len(subjects) > 1


def facts(found):
    return {(row.file, row.row, row.table, row.fate) for row in found.rows}


def header_subjects(explainer):
    """Return all claims and prior authorizations, in quarantine or not, as their rows name them."""
    sources = explainer._sources
    return {
        HeaderSubject(word, number)
        for _, loaded in sources.partitions()
        for word, table in HEADER_SUBJECTS.items()
        for number in loaded.tables[table].column(KEYS[table]).to_pylist()
        if number
    }


@pytest.mark.slow
def test_a_row_leads_to_the_same_resources(case):
    for kind in ("Organization", "Coverage"):
        subject = next(
            subject for subject in names_in(case.release) if subject.resource_type == kind
        )
        places_of_cells = sorted(cells(case.with_extract.explain(subject)))
        if not places_of_cells:  # an organization without a row
            continue
        file, row = places_of_cells[0]
        there, found = (
            each.explain(RowSubject(file, row)) for each in (case.with_extract, case.without)
        )
        for explained in (there, found):
            assert str(subject) in {one.resource for one in explained.resources}
        assert facts(found) <= facts(there)
        assert {each.file for each in found.files} >= {file}
    with pytest.raises(UsageError, match="was not made from a file x"):
        case.without.explain(RowSubject("x.csv", 2))
    with pytest.raises(UsageError, match="no row of the release starts at row 9999"):
        case.without.explain(RowSubject(file, 9999))
    with pytest.raises(UsageError, match="for the number of claim:"):
        case.without.explain(HeaderSubject("claim", "none"))


# Nights


@pytest.fixture
def keeper(payer):
    """A payer whose rows are not kept, in several partitions."""
    payer.changed = {"run": {"workers": 1, "partition_rows": 300}}
    return payer


def objects(payer):
    return {name for name in payer.files() if name.endswith((".places", ".sidecar"))}


@pytest.fixture(scope="module")
def three_nights(tmp_path_factory):
    """Extracts of three nights: a row is put in before all others, two members change, one goes."""
    folder = tmp_path_factory.mktemp("nights")
    write_extract(folder / "origin", Spec(members=6, seed=3, since=RECENT))
    tables = read_tables(folder / "origin")
    found = [write_tables(tables, folder / "night1", folder / "origin", "2026-01-01")]
    tables["claim"].insert(0, tables["claim"].pop())
    tables["member"][2]["family_name"] = "Other"
    found.append(write_tables(tables, folder / "night2", folder / "origin", "2026-01-02"))
    gone = tables["member"][4]["member_id"]
    claims = {row["claim_id"] for row in tables["claim"] if row["member_id"] == gone}
    for name, rows in tables.items():
        tables[name] = [
            row
            for row in rows
            if row.get("member_id") != gone and row.get("claim_id") not in claims
        ]
    tables["member"][0]["family_name"] = "Another"
    found.append(write_tables(tables, folder / "night3", folder / "origin", "2026-01-03"))
    return found


def answers(payer, extract):
    extracts = () if extract is None else (extract,)
    found = {}
    with explainer_of(payer.settings, extracts, silent) as explainer:
        for subject in few(names_in(payer.release)):
            try:
                found[str(subject)] = explainer.explain(subject)
            except UsageError:
                assert extract is None
    return found


@pytest.mark.slow
def test_a_member_who_stays_keeps_the_rows_of_the_extract_that_made_him(keeper, three_nights):
    made = {}
    for day, extract in enumerate(three_nights, 1):
        keeper.run(extract)
        title = f"extract of 2026-01-0{day}" if day > 1 else ""
        told = answers(keeper, extract)
        made[title or "extract of 2026-01-01"] = {name: cells(each) for name, each in told.items()}
        found = answers(keeper, None)
        titles = set()
        for name, each in found.items():
            [resource] = each.resources
            for row in resource.rows:
                titles.add(row.extract or "extract of 2026-01-01")
            of = {row.extract or "extract of 2026-01-01" for row in resource.rows}
            [only] = of
            assert made[only][name] <= places(resource.rows)
        assert titles == set(list(made)[:day])
        assert {name for name, each in told.items() if cells(each)} == set(found)
        assert verify(keeper.release).ok
    gone = set(made["extract of 2026-01-01"]) - set(found)
    assert gone
    with explainer_of(keeper.settings, (), silent) as explainer:
        claim = rows_of(three_nights[2] / "claim.csv")[3]["claim_id"]
        assert explainer.explain(HeaderSubject("claim", claim)).files[0].sha256
        lost = {row["claim_id"] for row in rows_of(three_nights[0] / "claim.csv")} - {
            row["claim_id"] for row in rows_of(three_nights[2] / "claim.csv")
        }
        with pytest.raises(UsageError, match="no row position"):
            explainer.explain(HeaderSubject("claim", lost.pop()))


@pytest.mark.slow
def test_a_damaged_piece_is_located_and_made_again(keeper, three_nights):
    keeper.run(three_nights[0])
    piece = max(keeper.release.read(SIDECAR).pieces, key=lambda one: one.bytes)
    path = keeper.target / piece.key
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    [problem] = verify(keeper.release).problems
    assert (problem.kind, problem.key) == ("damaged", piece.key)
    with (
        pytest.raises(StoreError, match=piece.key),
        explainer_of(keeper.settings, (), silent) as explainer,
    ):
        explainer.explain(HeaderSubject("claim", "none"))
    _, known = worked_on(keeper, three_nights[1])
    assert 0 < known < 8, "members of other partitions stay as they are"
    assert verify(keeper.release).ok
    assert set(answers(keeper, None)) == {
        name for name, each in answers(keeper, three_nights[1]).items() if cells(each)
    }
    path = keeper.target / next(
        one.key for one in keeper.release.manifest.facts.reports if one.key.endswith(".sidecar")
    )
    path.unlink()
    assert worked_on(keeper, three_nights[2])[1] == 0
    assert verify(keeper.release).ok


@pytest.mark.slow
def test_what_no_kept_release_names_is_pruned_and_a_rollback_answers_as_before(
    keeper, three_nights
):
    keeper.run(three_nights[0])
    first, told = keeper.release, answers(keeper, None)
    keeper.run(three_nights[1])
    rollback(LocalStore(keeper.target), first, "2026-02-01T00:00:00Z")
    assert answers(keeper, None) == told
    assert verify(keeper.release, pages=False).ok
    before = objects(keeper)
    later = timedelta(days=400)
    prune(LocalStore(keeper.target), lambda: keeper.at + later, keep=1, grace=timedelta(0))
    named = {one.key for one in keeper.release.manifest.facts.reports}
    assert objects(keeper) == {key for key in before if key in named} < before
    assert answers(keeper, None) == told


@pytest.mark.slow
def test_it_is_a_tenth_of_the_blocks_at_most(payer, tmp_path):
    payer.changed = {}
    write_extract(tmp_path / "extract", Spec(members=25, seed=4))
    payer.run(tmp_path / "extract")
    named = payer.release.manifest.facts.reports
    size = sum(one.bytes for one in named if one.key.endswith((".places", ".sidecar")))
    assert 0 < size < sum(unit.bytes for unit in payer.release.all_units()) / 10
    kept = objects(payer)
    text = "".join(
        json.dumps(from_bytes((payer.target / key).read_bytes(), key).to_pylist())
        for key in kept
        if key.endswith(".places")
    )
    assert '"claim_line"' in text
    for file, column in (("claim.csv", "claim_id"), ("member.csv", "member_id")):
        for row in rows_of(tmp_path / "extract" / file):
            assert row[column] not in text
    assert {(payer.target / key).stat().st_mode & 0o777 for key in kept} == {0o600}


@pytest.mark.slow
def test_it_can_be_turned_off_and_on_again(keeper, three_nights):
    keeper.changed = {**keeper.changed, "publish": {"sidecar": False}}
    keeper.run(three_nights[0])
    assert objects(keeper) == set()
    with (
        pytest.raises(UsageError, match="neither rows nor row positions of"),
        explainer_of(keeper.settings, (), silent),
    ):
        pass
    keeper.changed = {"run": {"workers": 1, "partition_rows": 300}}
    assert worked_on(keeper, three_nights[1])[1] == 0, "once, all rows are looked at"
    assert answers(keeper, None)
    assert worked_on(keeper, three_nights[2])[1] == 4, "two changed or went"


@pytest.mark.slow
def test_where_rows_are_kept_they_answer_and_nothing_is_kept_twice(payer, tmp_path):
    spec = Spec(2, seed=11, since=RECENT, change_rate=1)
    write_extract(tmp_path / "full", spec)
    write_extract(tmp_path / "delta", replace(spec, kind="delta", day=2))
    for name in ("full", "delta"):
        payer.run(tmp_path / name)
        assert objects(payer) == set()
        assert {each.through for each in answers(payer, None).values()} == {"layers"}
