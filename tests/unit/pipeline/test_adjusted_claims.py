"""What is published of claims whose chain of adjustments has a rejected claim."""

import pytest

from etl.bootstrap.settings import Settings
from etl.pipeline.partition.mapping import ClaimRules
from etl.quality.check import check_rows, check_totals
from etl.quality.checks.frames import RuleContext
from etl.rows import no_findings
from tests.e2e.commands import same_definitions
from tests.given.tables import table
from tests.unit.quality.world import LISTED, KeysInMemory, book, found, tables, world

RULE = "claim-successor-rejected"


def chained(**links):
    """Return professional claims in a chain: number -> the claim that it replaces, or ""."""
    of = world()
    claim, line = of["claim"][2], of["claim_line"][2]
    of["claim"] = [
        {**claim, "claim_id": number, "adjudication_date": f"2024-03-{day}"}
        | ({"adjusted_from_claim_id": prior} if prior else {})
        for day, (number, prior) in enumerate(links.items(), 10)
    ]
    of["claim_line"] = [{**line, "claim_id": number} for number in links]
    of["claim_diagnosis"] = [{"claim_id": key, "sequence": "1", "code": "E11.65"} for key in links]
    rest = ("claim", "claim_line", "claim_diagnosis")
    return {name: rows for name, rows in of.items() if name in rest or "claim" not in name}


def finalized(of, *, leave_out=False, **severities):
    definitions = same_definitions(Settings())
    rules = ClaimRules.from_definitions(definitions)
    context = RuleContext(book(**severities), KeysInMemory(), LISTED)
    rules = ClaimRules(rules.masker, rules.statuses, leave_out)
    return rules.finalize(check_rows(tables(of), no_findings(), context))


def roles(claims):
    """Return what each published claim is within its chain."""
    numbers = claims.decided.accepted["claim"].column("claim_id").to_pylist()
    return dict(zip(numbers, claims.chains.role.to_pylist(), strict=True))


def told(claims, rule=RULE):
    """Return the rows of claims that a rule finds."""
    return {row for name, _, row, _ in found(check_totals(claims.decided)) if name == rule}


FAULTS = {
    "unreadable amount": lambda of: of["claim"][-1].update(amount_submitted="twelve"),
    "unreadable line": lambda of: of["claim_line"][-1].update(service_from_date="2024-13-45"),
    "no line": lambda of: of["claim_line"].pop(),
    "unknown coverage": lambda of: of["claim"][-1].update(coverage_id="C9"),
    "contradiction": lambda of: repeat_claim(of, amount_submitted="1.00"),
    "no number": lambda of: of["claim"][-1].pop("claim_id"),
    "no date": lambda of: of["claim"][-1].pop("adjudication_date"),
    "two members": lambda of: repeat_claim(of, member_id="M2", coverage_id="C2"),
}
"""What is wrong with the last claim."""


def repeat_claim(of, **changed):
    of["claim"].append(of["claim"][-1] | changed)


@pytest.mark.parametrize("leave_out", [False, True])
@pytest.mark.parametrize("frequency", ["", "8"], ids=["replacement", "void"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_claim_with_a_rejected_successor_is_cancelled_and_counts_nothing(
    fault, frequency, leave_out
):
    of = chained(O="", R="O")
    if frequency:
        of["claim"][-1]["bill_frequency"] = frequency
    FAULTS[fault](of)
    claims = finalized(of, leave_out=leave_out)
    assert roles(claims) == {"O": "superseded"}
    assert claims.decided.counted.tolist() == [False]
    named = None if fault == "no number" else "R"
    assert claims.chains.successors.to_pylist() == [named]
    assert told(claims) == {2}


def test_a_payer_may_hold_back_the_whole_chain_of_a_rejected_claim():
    of = chained(O="", R1="O", R2="R1", N="")
    of["claim"][2]["amount_submitted"] = "twelve"
    claims = finalized(of, claim_successor_rejected="reject-claim")
    assert roles(claims) == {"N": "current"}
    assert told(claims) == {2, 3}
    rejected = check_totals(claims.decided).rejected.to_pylist()
    assert {row["rule"] for row in rejected if row["table"] == "claim"} >= {RULE}
    assert {
        row["cause"] for row in rejected if row["row"] == 2 and row["table"] == "claim_line"
    } == {RULE}


def test_a_deleted_or_replaced_row_of_a_rejected_claim_is_no_successor():
    of = chained(O="", R="O")
    newer = of["claim"][-1] | {"last_updated": "2024-05-02", "amount_submitted": "twelve"}
    del newer["adjusted_from_claim_id"]
    of["claim"][-1]["last_updated"] = "2024-05-01"
    of["claim"].append(newer)
    assert roles(finalized(of)) == {"O": "current"}


REVERSED = dict.fromkeys(("amount_submitted", "amount_eligible", "amount_copay"), "-100.00")


@pytest.mark.parametrize(
    ("amounts", "role", "rules"),
    [
        (REVERSED, "void", set()),
        (REVERSED | {"amount_copay": "5.00"}, "void", {"reversal-positive"}),
        (dict.fromkeys(REVERSED, "0.00"), "current", set()),
        (dict.fromkeys(REVERSED, "100.00"), "current", set()),
        ({"amount_submitted": "90.00", "payment_amount": "-20.00"}, "current",
         {"replacement-negative"}),
        ({"amount_submitted": "90.00", "amount_discount": "-5.00"}, "current",
         {"replacement-negative"}),
        ({}, "current", set()),
    ],
    ids=["all negative", "one positive", "all zero", "all positive", "negative payment",
         "negative discount", "none"],
)  # fmt: skip
@pytest.mark.parametrize("table", ["claim", "claim_line"])
def test_a_linked_claim_takes_back_when_its_amounts_add_up_to_less_than_zero(
    table, amounts, role, rules
):
    of = chained(O="", R="O")
    for name in ("claim", "claim_line"):
        row = of[name][-1]
        of[name][-1] = {key: cell for key, cell in row.items() if not key.startswith("amount_")}
    of["claim"][-1] |= amounts if table == "claim" else {}
    of["claim_line"][-1] |= {k: v for k, v in amounts.items() if table != "claim" and k[0] == "a"}
    if table != "claim" and "payment_amount" in amounts:
        role, rules = "current", set()
    claims = finalized(of)
    assert roles(claims) == {"O": "superseded", "R": role}
    signs = {"reversal-positive", "replacement-negative", "amount-negative", "payment-negative"}
    assert {name for name, *_ in found(check_totals(claims.decided))} & signs == rules


@pytest.mark.parametrize(*table(__file__, "bills"))
def test_what_a_bill_says_of_itself_and_its_links_are_held_to_each_other(cells, links, rules):
    of = chained(A="", B="")
    of["claim"][1] |= cells | links
    claims = finalized(of)
    told = {name for name, *_ in found(check_totals(claims.decided))}
    bills = {"replacement-without-claim", "type-of-bill-otherwise", "partial-bill-replaces"}
    assert told & bills == set(rules)


def test_a_bill_that_the_prior_claim_names_has_its_link():
    of = chained(A="", B="")
    of["claim"][0]["adjusted_to_claim_id"] = "B"
    of["claim"][1]["type_of_bill"] = "137"
    assert not told(finalized(of), "replacement-without-claim")
    of["claim"][1]["type_of_bill"] = "114"
    assert told(finalized(of), "partial-bill-replaces") == {3}


IRREGULAR = {
    "claim-prior-rejected", "replacement-adjudicated-earlier", "replacement-not-in-force",
    "cancellation-cancelled", "reversal-partial", "reversal-larger", "reversal-as-replacement",
}  # fmt: skip


@pytest.mark.parametrize(*table(__file__, "irregular"))
def test_an_irregular_chain_is_told(links, cells, amounts, rules):
    of = chained(**links)
    for claim, line in zip(of["claim"], of["claim_line"], strict=True):
        number = claim["claim_id"]
        claim |= cells.get(number, {})
        for row in (claim, line):
            row |= {name: amounts.get(number, "100.00") for name in row if name[:7] == "amount_"}
    numbers = dict(enumerate(links, 2))
    told_rules = {}
    for rule, _, row, _ in found(check_totals(finalized(of).decided)):
        if rule in IRREGULAR:
            told_rules.setdefault(numbers[row], []).append(rule)
    assert told_rules == rules


def test_claims_on_both_sides_of_a_rejected_one_may_be_rejected_with_it():
    of = chained(A="", B="A", C="B", N="")
    of["claim"][1]["coverage_id"] = "C9"
    claims = finalized(of, claim_prior_rejected="reject-claim")
    assert roles(claims) == {"A": "superseded", "N": "current"}
