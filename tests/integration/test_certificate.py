"""The certificate sees what goes wrong between a row and the byte that a member is served."""

import csv
import json
import shutil
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html import escape
from pathlib import Path

import pytest

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import read_settings
from etl.certificate.certificate import broken_files, broken_sums, state_from
from etl.certificate.published import BlockReader
from etl.certificate.sums import published_sums
from etl.errors import MappingError
from etl.pipeline.progress import StageBegan, ignore
from etl.pipeline.reporting.report_files import LimitBroken
from etl.quality.totals.limits import Verdict
from etl.synth.extract import write_extract
from etl.synth.spec import Spec
from tests.integration.certified import CHANGES, MISTAKES, Unit
from tests.integration.mutated import read_tables, write_tables
from tests.integration.nights import FIRST, Payer, blocks

MAPPINGS = Path(__file__).parents[2] / "mappings"
FEW = ("total of another category", "first lines alone", "always active")
"""Mistakes that the fast tests make."""
FIRST_SEEDS = [0, *(pytest.param(20 * at, marks=pytest.mark.long) for at in range(1, 9))]
"""Of each change, the first of the seeds of which one changes a byte."""


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certified")
    write_extract(folder / "extract", Spec(6, seed=5, since=date(2024, 1, 1)))
    return Unit.read(folder / "extract", folder / "work")


@pytest.fixture(scope="module")
def right(unit):
    return unit.outcome()


def synthetic(folder, members, since):
    """Write an extract; return its tables."""
    write_extract(folder / "extract", Spec(members, seed=5, since=since))
    return read_tables(folder / "extract")


def changed_unit(folder, tables, **settings):
    """Return the unit of a synthetic extract whose tables were changed."""
    extract = write_tables(tables, folder / "changed", folder / "extract", "2026-01-01")
    return Unit.read(extract, folder / "work", **settings)


def test_what_is_published_as_the_rows_state_it_is_certified(right):
    assert (right.wrong, right.facts) == (0, ())
    assert len(right.bytes_of) > 3


@pytest.mark.slow
def test_what_other_payers_paid_may_stand_for_an_amount_of_the_line_that_is_left_out(tmp_path):
    """Where a payer lets unreadable amounts be left out, rows of other payers fill in."""
    tables = synthetic(tmp_path, 6, date(2024, 1, 1))
    kinds = {row["claim_id"]: row["claim_type"] for row in tables["claim"]}
    line = next(row for row in tables["claim_line"] if kinds[row["claim_id"]] == "professional")
    line["amount_priorpayerpaid"] = "ten"
    other = dict.fromkeys(tables["claim_other_payer"][0], "") | {
        "claim_id": line["claim_id"],
        "line_number": line["line_number"],
        "sequence": "9",
        "payer_name": "Other",
        "amount_priorpayerpaid": "12.50",
    }
    tables["claim_other_payer"].append(other)
    lenient = {"severities": {"amount-unreadable": "warn"}}
    found = changed_unit(tmp_path, tables, rules=lenient).outcome()
    assert (found.wrong, found.facts) == (0, ())
    reasons = dict(found.certificate.reasons)
    assert reasons["amount-unreadable", "claim_line.priorpayerpaid"] == (1, 1250)
    assert broken_sums(found.certificate) == []
    assert broken_files(found.certificate) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claim_type", "level"), [("professional", "claim_line"), ("inpatient", "header")]
)
def test_an_adjustment_without_a_reason_code_that_can_be_published_is_explained(
    claim_type, level, tmp_path
):
    tables = synthetic(tmp_path, 30, date(2022, 1, 1))
    claims = {row["claim_id"] for row in tables["claim"] if row["claim_type"] == claim_type}
    adjustment = next(row for row in tables["claim_adjustment"] if row["claim_id"] in claims)
    adjustment |= {"reason_code": "12.50", "amount": "10.00"}
    if level == "header":  # a hospital's claim with amounts in its header alone
        for line in tables["claim_line"]:
            if line["claim_id"] == adjustment["claim_id"]:
                line |= {name: "" for name in line if name.startswith("amount_")}
    found = changed_unit(tmp_path, tables).outcome()
    assert (found.wrong, found.facts) == (0, ())
    reasons = dict(found.certificate.reasons)
    explained = reasons["adjustment-reason-shape", f"{level}.adjustmentreason"]
    assert explained == (1, -1000)
    assert broken_sums(found.certificate) == []
    assert broken_files(found.certificate) == []


@pytest.mark.slow
@pytest.mark.parametrize(("bill", "frequency"), [("138", "1"), ("131", "8")])
def test_a_type_of_bill_and_its_third_digit_may_disagree_on_a_void(bill, frequency, tmp_path):
    """The type of bill is published, so it decides; one claim holds up no night."""
    tables = synthetic(tmp_path, 8, date(2022, 1, 1))
    of_members = {}
    linked = {row["adjusted_from_claim_id"] for row in tables["claim"]}
    for row in tables["claim"]:
        is_alone = not row["adjusted_from_claim_id"] and row["claim_id"] not in linked
        if is_alone and row["claim_type"] == "outpatient":
            of_members.setdefault(row["member_id"], []).append(row)
    first, second, *_ = max(of_members.values(), key=len)
    second["adjusted_from_claim_id"] = first["claim_id"]
    second |= {"type_of_bill": bill, "bill_frequency": frequency}
    found = changed_unit(tmp_path, tables).outcome()
    assert (found.wrong, found.facts) == (0, ())


def test_a_claim_with_a_replacement_in_quarantine_must_be_cancelled(tmp_path):
    tables = synthetic(tmp_path, 8, date(2022, 1, 1))
    of_members = {}
    for row in tables["claim"]:
        row |= dict.fromkeys(("adjusted_from_claim_id", "adjusted_to_claim_id", "status"), "")
        row |= dict.fromkeys(("type_of_bill", "bill_frequency"), "")
        of_members.setdefault(row["member_id"], []).append(row)
    first, second, *_ = max(of_members.values(), key=len)
    second |= {"adjusted_from_claim_id": first["claim_id"], "amount_submitted": "ten"}
    unit = changed_unit(tmp_path, tables)
    found = unit.outcome()
    assert (found.wrong, found.facts) == (0, ())
    assert_mistake_seen(unit, tmp_path / "mappings", "never cancelled")


@pytest.mark.parametrize("first", FIRST_SEEDS)
@pytest.mark.parametrize("name", CHANGES)
def test_a_row_that_is_changed_on_its_way_is_seen(unit, right, name, first):
    """A wrong byte is seen; rows that rules reject are in quarantine, for all to see."""
    found = next(
        found
        for seed in range(first, first + 20)
        if (found := unit.outcome(CHANGES[name], seed)) is not None
        and found.bytes_of != right.bytes_of
    )
    assert found.wrong or found.rows > right.rows


def assert_mistake_seen(unit, folder, name):
    file, text, instead = MISTAKES[name]
    shutil.copytree(MAPPINGS, folder)
    path = folder / "c4bb" / file
    before = path.read_text()
    assert text in before
    path.write_text(before.replace(text, instead))
    try:
        definitions = load_definitions(read_settings(None, mappings=str(folder)))
    except MappingError:
        return  # the profiles forbid it
    found = unit.outcome(definitions=definitions)
    assert found.wrong > 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in MISTAKES]
)
def test_a_mistake_in_a_mapping_is_seen(unit, tmp_path, name):
    assert_mistake_seen(unit, tmp_path / "mappings", name)


def split_table(whole, at):
    """Write the rows of a file as two files."""
    header, *rows = whole.read_text().splitlines(keepends=True)
    for name, part in (("a", rows[:at]), ("b", rows[at:])):
        whole.with_stem(f"{whole.stem}-{name}").write_text("".join([header, *part]))
    whole.unlink()


def in_parts(extract):
    """Write headers, lines and adjustments as two files each, cut at different claims."""
    for table, at in (("claim", 3), ("claim_line", 8), ("claim_adjustment", 5)):
        split_table(extract / f"{table}.csv", at)
    (extract / "manifest.json").unlink()


def stated_by_file(extract):
    """Return the cents that the cells of each file of headers and of lines come to."""
    found = Counter[tuple[str, str, str]]()
    for path in extract.glob("claim*-?.csv"):
        level = path.name[:-6]
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for name, text in row.items():
                    if name.startswith("amount_") and text and level != "claim_adjustment":
                        cell = (path.name, level, name.removeprefix("amount_"))
                        found[cell] += int(Decimal(text) * 100)
                if level == "claim_adjustment":
                    cell = (path.name, "claim_line", "adjustmentreason")
                    found[cell] += int(Decimal(row["amount"]) * 100)
    return found


@pytest.mark.slow
def test_an_adjustment_left_out_counts_where_the_adjustments_of_its_line_do(tmp_path):
    """Those of a line count under the file of the first, whichever files they are in."""
    tables = synthetic(tmp_path, 30, date(2022, 1, 1))
    adjustments = tables["claim_adjustment"]
    lines = [(row["claim_id"], row["line_number"]) for row in adjustments]
    at = next(at for at in range(1, len(lines)) if lines[at] == lines[at - 1] and lines[at][1])
    adjustments[at] |= {"reason_code": "12.50", "amount": "10.00"}
    write_tables(tables, tmp_path / "changed", tmp_path / "extract", "2026-01-01")
    split_table(tmp_path / "changed" / "claim_adjustment.csv", at)
    found = Unit.read(tmp_path / "changed", tmp_path / "work").outcome()
    explained = dict(found.certificate.reasons)
    assert explained["adjustment-reason-shape", "claim_line.adjustmentreason"] == (1, -1000)
    assert broken_files(found.certificate) == []


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    write_extract(folder / "extract", Spec(6, seed=5, since=date(2024, 1, 1)))
    in_parts(folder / "extract")
    return folder / "extract", Unit.read(folder / "extract", folder / "work")


def file_of(unit, name):
    return next(file.index for file in unit.partitions.facts.files if file.name == name)


def test_sums_are_of_the_file_that_brought_each_amount(parts):
    extract, unit = parts
    second, first = (
        {row["claim_id"] for row in csv.DictReader((extract / name).read_text().splitlines())}
        for name in ("claim-b.csv", "claim_line-a.csv")
    )
    assert second & first  # claims whose header and lines are of different files
    found = unit.outcome()
    names = {file.index: file.name for file in unit.partitions.facts.files}
    sums = {(names[file], *rest): each for (file, *rest), each in found.certificate.files.items()}
    stated = {
        (name, level, category): each.source
        for (name, level, category), each in sums.items()
        if category != "priorpayerpaid" and each.source
    }
    assert stated == {
        cell: cents
        for cell, cents in stated_by_file(extract).items()
        if cell[2] != "priorpayerpaid" and cents
    }
    assert {name for name, _, _ in stated} > {"claim-a.csv", "claim-b.csv", "claim_line-a.csv"}
    assert all(each.holds for each in sums.values())
    for level in ("claim", "claim_line"):
        by_category = found.certificate.read.by_category(level)
        for category, cents in by_category.items():
            mine = [
                each.published
                for (_, of, named), each in sums.items()
                if (of, named) == (level, category)
            ]
            assert sum(mine) == cents


@pytest.mark.slow
@pytest.mark.parametrize("table", ["claim", "claim_line"])
@pytest.mark.parametrize("part", ["a", "b"])
def test_a_cent_moved_in_one_of_two_files_is_seen_in_the_sum_of_that_file(parts, table, part):
    _, unit = parts
    file = file_of(unit, f"{table}-{part}.csv")

    def cent_more(tables, _):
        headers = {row["claim_id"] for row in tables["claim"] if row["amount_submitted"]}
        row = next(
            row
            for row in tables[table]
            if row["_file"] == file and row["claim_id"] in headers and row["amount_submitted"]
        )
        row["amount_submitted"] = str(Decimal(row["amount_submitted"]) + Decimal("0.01"))

    found = unit.outcome(cent_more)
    assert broken_files(found.certificate) == [(file, table, "submitted")]
    sums = found.certificate.files[file, table, "submitted"]
    assert sums.published - sums.source == 1


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Two nights of a small payer, and a tree with the first of them published."""
    folder = tmp_path_factory.mktemp("nights")
    extracts = folder / "first", folder / "second"
    for day, extract in enumerate(extracts):
        write_extract(extract, Spec(6, day=day, change_rate=0.4, since=date(2024, 6, 1)))
    with pytest.MonkeyPatch.context() as patch:
        Payer(folder / "tree", patch).run(extracts[0])
    return *extracts, folder / "tree"


@pytest.fixture
def payer(nights, tmp_path, monkeypatch):
    """Return a payer who published the first night."""
    target = tmp_path / "target"
    shutil.copytree(nights[2], target)
    return Payer(target, monkeypatch, at=FIRST + timedelta(days=1))


def report_of(payer):
    files = payer.files()
    return json.loads(files[f"reports/{payer.release.id}/report.json"])


def sums_of_all(payer):
    """Return the sums of all blocks that readers see, each of them read."""
    reader = BlockReader()
    for name in blocks(payer.release).values():
        reader.read_block(payer.files()[name])
    return published_sums(reader.claims())


def state_of(payer):
    (named,) = [
        each
        for each in payer.release.manifest.facts.reports
        if each.key.startswith("memory/") and each.key.endswith(".certificate")
    ]
    return state_from(payer.files()[named.key])


@pytest.mark.slow
def test_nights_carry_the_sums_on_and_say_how_soon_claims_were_visible(payer, nights):
    assert report_of(payer)["timeliness"] is None
    before = sums_of_all(payer)
    assert state_of(payer) == (before, Counter())
    payer.run(nights[1])
    certificate, timely = report_of(payer)["certificate"], report_of(payer)["timeliness"]
    assert certificate["carried_claims"] > 0
    assert certificate["facts"] > 0
    after = sums_of_all(payer)
    assert after != before
    assert state_of(payer)[0] == after
    assert all(each["published"] == each["in_bytes"] for each in certificate["counted"].values())
    assert timely["claims"] == sum(state_of(payer)[1].values())
    assert timely["claims"] == sum(each["claims"] for each in timely["by_business_days"])
    assert timely["claims"] > 0


def published_at(payer, extract, moment, emit=ignore):
    """Publish an extract, beginning at a moment; return what its report says of timeliness."""
    payer.at = moment - timedelta(days=1)
    payer.run(extract, emit=emit)
    timely = report_of(payer)["timeliness"]
    assert timely["all_releases"]["claims"] == sum(state_of(payer)[1].values())
    assert (timely["claims"] - timely["on_time"] > 0) == (timely["late"] is not None)
    return timely


def on_commit(act):
    """Return what does something as the last stage of a run begins: its report is written."""

    def emit(event):
        if isinstance(event, StageBegan) and event.stage == "commit":
            act()

    return emit


EVENING = datetime(2026, 1, 5, 20, tzinfo=UTC)
AFTER_MIDNIGHT = EVENING + timedelta(hours=10)


@pytest.mark.slow
def test_claims_are_visible_on_the_day_the_pointer_moves(payer, nights, tmp_path, monkeypatch):
    def stop():
        raise InterruptedError

    # An attempt in the evening dies before its commit, and another goes on from it in the morning.
    shutil.copytree(payer.target, tmp_path / "undisturbed")
    with pytest.raises(InterruptedError):
        published_at(payer, nights[1], EVENING, on_commit(stop))
    resumed = published_at(payer, nights[1], AFTER_MIDNIGHT)
    assert resumed["visible_day"] == "2026-01-06"
    assert report_of(payer)["when"] == EVENING.isoformat()
    # As late as if it had begun in the morning, and so they are if midnight passes in a commit.
    for name, moment, tick in (("a", AFTER_MIDNIGHT, timedelta()), ("b", EVENING, timedelta(1))):
        other = Payer(shutil.copytree(tmp_path / "undisturbed", tmp_path / name), monkeypatch)

        def pass_time(other=other, tick=tick, moment=moment):
            other.at = min(other.at + tick, AFTER_MIDNIGHT)

        assert published_at(other, nights[1], moment, on_commit(pass_time)) == resumed


@pytest.mark.slow
def test_a_run_that_publishes_nothing_made_no_claim_visible(payer, nights, monkeypatch):
    broken = Verdict("certificate", "0", "1", holds=False, sentence="differs", is_setting=False)
    monkeypatch.setattr("etl.pipeline.publish.verdict", lambda *_: broken)
    with pytest.raises(LimitBroken) as stopped:
        payer.run(nights[1])
    assert stopped.value.processed.certificate.adjudicated
    assert stopped.value.report.timeliness is None


@pytest.mark.slow
def test_amounts_of_unchanged_members_stand_under_the_one_file_that_can_hold_them(payer, nights):
    payer.changed = {"report": {"gx_rows": 0, "small_cells": 0}}
    payer.run(nights[1])
    certificate = report_of(payer)["certificate"]
    files = certificate["files"]
    assert certificate["carried_claims"] > 0
    assert {each["carried"] for each in files} == {True, False}
    assert {each["file"] for each in files if each["level"] == "header"} == {"claim.csv"}
    assert all(each["adds_up"] for each in files if not each["carried"])
    after = sums_of_all(payer)
    for level, name in (("claim", "header"), ("claim_line", "lines")):
        by_category = Counter[str]()
        for each in files:
            if each["level"] == name:
                by_category[each["category"]] += int(Decimal(each["published"]) * 100)
        assert +by_category == +Counter(after.by_category(level))
    names = {each["name"] for each in certificate["money"] if each["by"] == "payer"}
    assert names
    assert None not in names
    page = payer.files()[f"reports/{payer.release.id}/index.html"].decode()
    assert all(f"{escape(name)} (<code>Organization/" in page for name in names)


@pytest.mark.slow
def test_a_state_that_is_lost_is_made_of_all_blocks(payer, nights):
    for path in (payer.target / "memory").glob("*.certificate"):
        path.unlink()
    payer.run(nights[1])
    assert report_of(payer)["certificate"]["carried_claims"] > 0
    assert state_of(payer)[0] == sums_of_all(payer)


@pytest.mark.slow
def test_a_finding_that_leaves_an_adjustment_stands_beside_one_that_leaves_it_out(tmp_path):
    tables = synthetic(tmp_path, 30, date(2022, 1, 1))
    by_line = {}
    for row in tables["claim_adjustment"]:
        by_line.setdefault((row["claim_id"], row["line_number"]), []).append(row)
    first, second, *_ = max(by_line.values(), key=len)
    first |= {"reason_code": "045", "amount": "7.00"}
    second |= {"reason_code": "12.50", "amount": "10.00"}
    found = changed_unit(tmp_path, tables).outcome()
    assert (found.wrong, found.facts) == (0, ())
    explained = dict(found.certificate.reasons)
    assert explained["adjustment-reason-shape", "claim_line.adjustmentreason"] == (1, -1000)
