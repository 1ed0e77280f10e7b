"""Attribution: the results of a unit of two members, by member."""

import numpy as np
import pytest

from etl.pipeline.incremental.attribution import owners_of
from etl.pipeline.incremental.dependencies import (
    Dependencies,
    changed_names,
    directory_digests,
)
from etl.pipeline.incremental.ledger import Places, from_bytes
from etl.pipeline.partition.mapping import PartitionContext, check_and_map
from etl.quality.check import check_totals
from etl.storage.local import LocalStore
from tests.unit.pipeline.small_run import (
    OF_M2,
    cut,
    definitions,
    directory_of,
    owner,
    process,
    two_members,
)

MEMBERS = {owner(name): name for name in ("M1", "M2", "M9")}


def ledger_of(of, folder):
    """Return the ledger of a unit with all rows of a world."""
    store = LocalStore(folder / "tree")
    result = process(cut(of, folder), store)
    return from_bytes(store.get(result.outcome.ledger.key), "the ledger")


def of_members(ledger, table, *columns):
    """Return the member and some columns of each entry."""
    rows = ledger[table].select(["owner", *columns]).to_pylist()
    return {(MEMBERS[row["owner"]], *(row[name] for name in columns)) for row in rows}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    return ledger_of(two_members(), tmp_path_factory.mktemp("whole"))


def test_totals_of_a_partition_are_the_sums_of_its_members(tmp_path):
    rows = cut(two_members(), tmp_path)
    places = Places.from_partitions(rows, range(1))
    context = PartitionContext(definitions(), directory_of(rows), None)
    decided, _, _ = check_and_map(context, rows.load(0), rows.keys)
    owners = owners_of(places, np.unique(places.owner))
    whole, summed = check_totals(decided), check_totals(decided, owners)
    assert (whole.shares is None, summed.shares is None) == (True, False)
    assert whole.money
    assert summed.money == whole.money
    assert whole.filled
    assert summed.filled == whole.filled


def test_resources_are_those_of_the_members_rows(ledger):
    assert of_members(ledger, "resources", "type", "count") == {
        ("M1", "Patient", 1),
        ("M1", "Coverage", 1),
        ("M1", "ExplanationOfBenefit", 5),
        ("M2", "Patient", 1),
        ("M2", "Coverage", 1),
        ("M2", "ExplanationOfBenefit", 1),
    }
    assert {(member, own) for member, own in of_members(ledger, "patients", "own")} == {
        ("M1", True),
        ("M2", True),
    }
    assert len(of_members(ledger, "patients", "patient")) == 2


def test_a_member_without_coverage_and_claims_has_a_block_all_the_same(tmp_path):
    """A next night keeps the blocks that are a member's own."""
    of = two_members()
    of["member"].append({**of["member"][1], "member_id": "M9"})
    patients = of_members(ledger_of(of, tmp_path), "patients", "own")
    assert patients == {("M1", True), ("M2", True), ("M9", True)}


def test_a_provider_with_another_npi_is_another_to_those_who_name_it(tmp_path):
    def digests(npi):
        of = two_members()
        of["organization"][0]["npi"] = npi
        rows = cut(of, tmp_path / npi)
        return directory_digests(directory_of(rows), Dependencies.find(definitions()))

    before, after = digests("1234567893"), digests("1033102005")
    assert len(before[0]) == 2
    assert set(changed_names(before, after)) == {*before[0], *after[0]}
    assert not len(changed_names(before, digests("1234567893")))


def test_findings_are_told_by_the_number_of_the_members_row(ledger):
    """M2's claim is the fifth of the file, and M2's first."""
    found = of_members(ledger, "findings", "rule", "source", "at")
    rule = "claim-provider-unlisted"
    assert {entry for entry in found if entry[1] == rule} == {
        *(("M1", rule, "claim", at) for at in range(5)),
        ("M2", rule, "claim", 0),
    }
    assert found - {entry for entry in found if entry[1] == rule} == {
        ("M1", "care-team-provider-unlisted", "claim_care_team", 0)
    }


def test_counts_and_money_are_each_members_part(ledger):
    counts = of_members(ledger, "counts", "table", "in", "published")
    assert {("M1", "claim", 5, 5), ("M2", "claim", 1, 1), ("M2", "claim_tooth", 1, 1)} <= counts
    assert ("M1", "claim_tooth", 1, 1) not in counts
    money = of_members(ledger, "money", "level", "claim_type", "category", "net")
    of_m2 = {entry[2:] for entry in money if entry[:2] == ("M2", "claim")}
    assert ("oral", "submitted", 10_000) in of_m2
    assert {claim_type for claim_type, *_ in of_m2} == {"oral"}


def test_providers_without_a_row_are_those_that_the_members_resources_name(ledger):
    assert of_members(ledger, "missing", "resource", "key") == {
        ("M1", "Organization", "1234567893"),
        ("M1", "Practitioner", "1234567893"),
        ("M2", "Organization", "1234567893"),
    }


def test_a_rejected_claim_is_its_members_with_all_that_hangs_on_it(tmp_path):
    of = two_members()
    of["claim"][OF_M2] |= {"statement_from_date": "2024-13-01"}
    ledger = ledger_of(of, tmp_path)
    rejected = of_members(ledger, "rejected", "table", "source", "at")
    assert rejected == {("M2", name, name, 0) for name in ("claim", "claim_line", "claim_tooth")}
    assert ("M2", "claim", 1, 0, 1) in of_members(
        ledger, "counts", "table", "in", "published", "quarantined"
    )
    assert {entry[1] for entry in of_members(ledger, "resources", "type") if entry[0] == "M2"} == {
        "Patient",
        "Coverage",
    }


def test_an_id_of_another_member_is_noted_with_the_answer(tmp_path):
    of = two_members()
    of["claim"][OF_M2] |= {"member_id": "M9", "coverage_id": ""}
    ledger = ledger_of(of, tmp_path)
    assert of_members(ledger, "asked", "kind", "there") == {("M9", "member", False)}


def test_members_who_share_a_claim_are_left_out(tmp_path):
    of = two_members()
    of["claim"].append(of["claim"][0] | {"member_id": "M2", "coverage_id": "C2"})
    ledger = ledger_of(of, tmp_path)
    assert {name: table.num_rows for name, table in ledger.items() if table.num_rows} == {}


def test_owners_of_rows_are_found_by_place(tmp_path):
    rows = cut(two_members(), tmp_path)
    places = Places.from_partitions(rows, range(1))
    claims = rows.facts.names.index("claim.csv")
    wanted = np.array(sorted({owner("M2")}), dtype=np.uint64)
    owners = owners_of(places, wanted)
    assert owners.ids.tolist() == [owner("M2")]
    found = owners.codes_of(np.full(6, claims), np.arange(2, 8)).tolist()
    assert found == [0 if number == OF_M2 else -1 for number in range(6)]
