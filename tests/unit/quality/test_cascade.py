"""What hangs on a rejected row, and why it says it was rejected."""

import pyarrow as pa
import pytest

from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.quality.totals.counts import RowCounts
from etl.rows import FINDINGS_SCHEMA, table_schema
from tests.given.tables import table as cases
from tests.unit.quality.world import (
    KeysInMemory,
    accepted,
    assert_outcome,
    book,
    found,
    outcomes,
    rejected,
    run,
    world,
)


def causes(checked):
    rows = checked.rejected.to_pylist()
    return {(r["table"], r["row"]): (r["rule"], r["cause"], r["rules"]) for r in rows}


@outcomes(__file__)
def test_what_hangs_on_a_rejected_row_is_rejected_because_of_it(outcome):
    assert_outcome(outcome)


def test_all_rejecting_rules_of_a_row_are_named_once_the_first_one_first():
    of = world()
    of["claim"][2] |= {"claim_type": "veterinary", "member_id": "M9"}
    of["claim"][2] |= {"amount_copay": "x", "amount_deductible": "x"}
    told = causes(run(of))
    rule, cause, rules = told["claim", 4]
    assert rule == cause == "amount-unreadable"
    assert rules.split(";") == [
        "amount-unreadable",
        "claim-type-unknown",
        "claim-unknown-member",
        "coverage-of-another",
    ]


def test_a_coverage_of_another_member_is_found_in_whatever_partition_it_lies():
    of = world()
    of["claim"][2]["coverage_id"] = "C2"
    together = run(of)
    alone = {table: [row for row in of[table] if row.get("member_id") != "M2"] for table in of}
    known = KeysInMemory(members=frozenset({"M1", "M2"}), coverages=frozenset({"C1", "C2"}))
    apart = run(alone, known=known)
    for checked in (together, apart):
        assert ("claim", 4, "coverage-of-another") in rejected(checked)
        assert "K2" not in accepted(checked, "claim", "claim_id")
    assert causes(together) == causes(apart)


def test_a_deletion_needs_its_key_and_its_member_and_no_more():
    of = world()
    of["claim"][2] = {"claim_id": "K2", "member_id": "M1", "record_action": "d"}
    for table in of:
        if table.startswith("claim_"):
            of[table] = [row for row in of[table] if row["claim_id"] != "K2"]
    checked = run(of)
    assert found(checked) == set()
    assert accepted(checked, "claim", "record_action")[2] == "D"
    del of["claim"][2]["member_id"]
    assert ("claim", 4, "required") in rejected(run(of))


def findings_of_sources(*rows):
    columns = list(zip(*rows, strict=True))
    return pa.table([*columns, [None] * len(rows)], schema=FINDINGS_SCHEMA)


def test_a_row_that_could_not_be_read_is_in_quarantine_with_what_hangs_on_it():
    # claim is file 6: row 4 has a status that is unknown, of row 99 only the id could be read.
    unread = {"claim": bare("claim", 99, claim_id="K5")}
    findings = findings_of_sources(("ragged-row", "claim", 6, 4), ("ragged-row", "claim", 6, 99))
    of = world()
    of["claim"] = [row for row in of["claim"] if row["claim_id"] != "K5"]
    checked = run(of, findings=findings, unread=unread)
    told = causes(checked)
    assert told["claim", 4] == ("ragged-row", "ragged-row", "ragged-row")
    assert told["claim", 99] == ("ragged-row", "ragged-row", "ragged-row")
    lines = [row["claim_id"] for row in of["claim_line"]]
    for row in (2 + lines.index("K2"), 2 + lines.index("K5")):
        assert told["claim_line", row][1] == "ragged-row"
    assert checked.counts["claim"] == RowCounts(6, 4, 2, 0)
    assert [rule for rule, *_ in found(checked)].count("ragged-row") == 2


def bare(table, row, **ids):
    """A row of which only ids could be read; it lies in the file of its table."""
    cells = {name: pa.array([ids.get(name)], pa.string()) for name in TABLES[table].names}
    places = {"_file": pa.array([list(TABLES).index(table)]), "_row": pa.array([row])}
    return pa.table({**cells, **places}, schema=table_schema(table))


@pytest.mark.parametrize("table", ["claim_line", "claim_diagnosis", "claim_care_team"])
def test_a_child_that_could_not_be_read_takes_its_claim_along(table):
    file = list(TABLES).index(table)
    unread = {table: bare(table, 99, claim_id="K2")}
    checked = run(
        world(), findings=findings_of_sources(("ragged-row", table, file, 99)), unread=unread
    )
    told = causes(checked)
    assert told["claim", 4][1] == "ragged-row"
    assert told[table, 99] == ("ragged-row", "ragged-row", "ragged-row")
    assert not accepted(checked, table, "claim_id").count("K2")


OF_LINES = [("claim_adjustment", "line_number"), ("claim_transport", "line_numbers")]


@pytest.mark.parametrize("line_rejected", ["reject-claim", "warn"])
@pytest.mark.parametrize(("table", "column"), OF_LINES)
def test_what_names_a_line_that_could_not_be_read_is_rejected_because_of_it(
    table, column, line_rejected
):
    """Whether it is torn, and nothing of it is known but its claim, or its number alone is none."""
    rules = book(line_rejected=line_rejected)
    of = world()
    of[table].append(of[table][0] | {"sequence": "2", column: "2"})
    torn = {"claim_line": bare("claim_line", 99, claim_id="K2")}
    file = list(TABLES).index("claim_line")
    findings = findings_of_sources(("ragged-row", "claim_line", file, 99))
    told = causes(run(of, rules=rules, findings=findings, unread=torn))
    assert told[table, 3] == ("hangs-on-rejected", "ragged-row", "hangs-on-rejected")
    of["claim_line"].append(of["claim_line"][2] | {"line_number": "two"})
    told = causes(run(of, rules=rules))
    number = 1 + len(of["claim_line"])
    assert told[table, 3] == (
        "hangs-on-rejected",
        told["claim_line", number][1],
        "hangs-on-rejected",
    )
    of["claim_line"].pop()
    own = {"claim_adjustment": "orphan-line", "claim_transport": "transport-line-unknown"}[table]
    assert causes(run(of, rules=rules))[table, 3] == (own, own, own)


@pytest.mark.parametrize(*cases(__file__, "unread_keys"))
def test_a_row_with_the_key_of_one_that_could_not_be_read_is_rejected(table, ids, hangs):
    # Which of the two is the later one cannot be told.
    findings = findings_of_sources(("ragged-row", table, list(TABLES).index(table), 99))
    checked = run(world(), findings=findings, unread={table: bare(table, 99, **ids)})
    assert causes(checked)[tuple(hangs)][1] == "ragged-row"
    assert causes(checked)["claim", 4][1] == "ragged-row"


@pytest.mark.parametrize("severity", ["warn", "reject-claim"])
def test_a_line_with_a_mistyped_claim_is_kept_and_the_claim_that_lacks_it_is_named(severity):
    of = world()
    of["claim_line"][2]["amount_submitted"] = "60.00"  # of 100.00
    stray = {"claim_id": "K22", "line_number": "2", "amount_submitted": "40.00"}
    of["claim_line"].append(of["claim_line"][2] | stray)
    checked = run(of, rules=book(total_of_lines=severity))
    number = 1 + len(of["claim_line"])
    assert causes(checked)["claim_line", number] == ("orphan-claim",) * 3
    assert ("total-of-lines", "claim", 4, "amount_submitted") in found(checked)
    assert (("claim", 4, "total-of-lines") in rejected(checked)) is (severity == "reject-claim")


def test_a_row_that_is_not_made_with_a_warning_is_no_row():
    unread = {"claim_diagnosis": bare("claim_diagnosis", 99, claim_id="K2")}
    file = list(TABLES).index("claim_diagnosis")
    findings = findings_of_sources(("dialect-foreign-code-system", "claim_diagnosis", file, 99))
    checked = run(world(), findings=findings, unread=unread)
    assert checked.rejected.num_rows == 0
    harder = book(dialect_foreign_code_system="reject-claim")
    checked = run(world(), rules=harder, findings=findings, unread=unread)
    assert causes(checked)["claim", 4][1] == "dialect-foreign-code-system"


def test_warnings_of_sources_are_kept_as_they_came():
    findings = findings_of_sources(("dialect-sentinel-date", "claim", 6, 4))
    checked = run(world(), findings=findings)
    assert found(checked) == {("dialect-sentinel-date", "claim", 4, None)}
    assert checked.rejected.num_rows == 0


@pytest.mark.parametrize("table", ["member", "claim", "claim_line"])
def test_an_empty_partition_is_checked_too(table):
    of = {table: world()[table][:1]}
    checked = run(of)
    assert sum(each.rows_in for each in checked.counts.values()) == 1


def test_no_rows_at_all_are_no_trouble():
    assert run({}).findings.num_rows == 0
