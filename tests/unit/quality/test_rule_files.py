"""Rule files and policies: what is wrong with them is said by file, line and nearest right name."""

import pickle
from decimal import Decimal

import pytest

from etl.errors import DataRejected, MappingError
from etl.model.severity import Severity
from etl.quality.rules.book import Limits, Policy, load_rules
from etl.quality.totals.counts import CountsDoNotAddUp, RowCounts, add_counts, reconcile
from etl.quality.totals.limits import enforce, verdicts
from tests.given.tables import read_tables, table
from tests.unit.quality.world import book, crosswalks, standard_book

_FILES = read_tables(__file__)
CASCADE, GOOD = _FILES["cascade"], _FILES["good"]


def load(text, policy=None):
    return load_rules(
        {"cascade.yaml": CASCADE, "mine.yaml": text}, policy or Policy(), crosswalks()
    )


@pytest.mark.parametrize(*table(__file__, "mistakes"))
def test_a_mistake_is_named_by_line_and_nearest_name(old, new, error_id, told):
    assert load(GOOD)
    with pytest.raises(MappingError) as caught:
        load(GOOD.replace(old, new, 1))
    assert caught.value.error_id == error_id
    assert caught.value.where.startswith("mine.yaml:")
    assert told in str(caught.value)


def test_the_cascade_needs_its_two_rules():
    with pytest.raises(MappingError, match="exactly one rule must have check"):
        load_rules({"mine.yaml": GOOD}, Policy(), crosswalks())


def test_a_policy_that_names_no_rule_is_refused():
    with pytest.raises(MappingError, match=r"did you mean 'my-rule'\?") as caught:
        load(GOOD, Policy(severities={"my-rul": Severity.WARN}, origin=lambda *of: "/".join(of)))
    assert caught.value.where == "severities/my-rul"
    with pytest.raises(MappingError, match=r"no rule 'nothing-like-it'"):
        load(GOOD, Policy(limits=Limits(findings={"nothing-like-it": 1})))


def test_what_would_publish_an_untruth_cannot_be_softened():
    with pytest.raises(MappingError, match="cannot be softened") as caught:
        book(claim_of_two_members="warn")
    assert caught.value.error_id == "rule-firm"
    assert book(claim_of_two_members="reject-row")


def test_severities_of_the_payer_replace_those_of_the_file():
    softened = book(amount_unreadable="warn")["amount-unreadable"]
    assert (softened.severity, softened.default) == (Severity.WARN, Severity.REJECT_CLAIM)


def test_a_rule_book_travels_to_worker_processes():
    assert pickle.loads(pickle.dumps(standard_book())) == standard_book()  # noqa: S301 (our own)


# -- limits and counts ---------------------------------------------------------------------------


def test_a_limit_holds_up_to_the_share_itself():
    limits = Limits(rejected_claims=Decimal("0.01"))
    at = {"claim": RowCounts(1000, 990, 10, 0)}
    over = {"claim": RowCounts(1000, 989, 11, 0)}
    assert all(each.holds for each in verdicts(limits, at, {}))
    enforce(verdicts(limits, at, {}))
    with pytest.raises(DataRejected, match=r"11 of 1000 claim rows \(1\.1 %\)") as caught:
        enforce(verdicts(limits, over, {}))
    assert caught.value.exit_code == 4


def test_limits_are_about_totals_of_all_partitions():
    limits = Limits(rejected_members=Decimal("0.5"), findings={"required": 2, "npi": 0})
    counts = add_counts(
        [{"member": RowCounts(1, 0, 1, 0)}, {"member": RowCounts(2, 2, 0, 0), "claim": RowCounts()}]
    )
    told = verdicts(limits, counts, {"required": 3})
    assert [(each.limit, each.holds) for each in told] == [
        ("rejected_members", True),
        ("findings.npi", True),
        ("findings.required", False),
    ]


def test_a_directory_is_limited_table_by_table_and_small_ones_where_nothing_is_left():
    limits = Limits(rejected_claims=Decimal(0), rejected_rows=Decimal("0.5"))
    counts = {
        "location": RowCounts(10, 5, 5, 0),
        "provider_role": RowCounts(10, 4, 6, 0),
        "network": RowCounts(3, 0, 3, 0),
        "endpoint": RowCounts(3, 1, 2, 0),
        "healthcare_service": RowCounts(20, 0, 0, 0, 20),
        "insurance_plan": RowCounts(),
    }
    told = verdicts(limits, counts, {})
    assert [(each.limit, each.holds, each.found) for each in told] == [
        ("rejected_rows", True, "50 %"),
        ("rejected_rows", False, "60 %"),
        ("rejected_rows", False, "100 %"),
        ("rejected_rows", True, "0 %"),
    ]
    with pytest.raises(DataRejected, match="6 of 10 provider_role rows"):
        enforce(told)


def test_no_rows_break_no_limit():
    limits = Limits(rejected_claims=Decimal(0))
    assert verdicts(limits, {}, {})[0].holds


def test_a_lost_row_is_a_bug():
    reconcile({"claim": RowCounts(3, 1, 1, 1)})
    with pytest.raises(CountsDoNotAddUp, match="table claim: 4 rows in"):
        reconcile({"claim": RowCounts(4, 1, 1, 1)})


def test_all_mistakes_of_rule_files_are_told_at_once():
    two = GOOD.replace("severity: warn", "severity: warm").replace(
        "values: [oral]", "valus: [oral]"
    )
    three = GOOD.replace("my-rule", "third").replace("columns: claim_type", "columns: claim_typ")
    with pytest.raises(MappingError) as caught:
        load(two + three)
    assert sorted((one.where, one.error_id) for one in caught.value.every) == [
        ("mine.yaml:14", "rule-column"),
        ("mine.yaml:6", "rule-key"),
        ("mine.yaml:7", "rule-value"),
    ]
