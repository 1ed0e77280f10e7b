"""From rows to resources: whatever a chain is and in whatever order it comes, the same bytes and
each cent once."""

import json
from collections import defaultdict
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.bootstrap.settings import Settings
from etl.claims.masking import Masker
from etl.engine.render import render
from etl.mapping.plan import Environment
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.sensitive_codes import SensitiveCodes
from etl.pipeline.partition.mapping import ClaimRules
from etl.quality.check import Checked, check_rows, check_totals
from etl.quality.checks.frames import NoKeys, RuleContext
from etl.quality.totals.counts import reconcile
from etl.quality.totals.money import MoneyKey
from etl.rows import no_findings
from tests.e2e.commands import same_definitions
from tests.unit.quality.world import LISTED, tables, world

NUMBERS = ["A1", "A2", "A3", "A4", "A5"]


def definitions():
    return same_definitions(Settings())


@st.composite
def worlds(draw):
    """Draw claims of one member, linked at random."""
    of = world()
    claim, line = of["claim"][2], of["claim_line"][2]
    claims, lines, diagnoses = [], [], []
    for number in draw(st.lists(st.sampled_from(NUMBERS), unique=True, max_size=5)):
        cents = draw(st.integers(-20_000, 20_000))
        amount = f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"
        amounts = {name: amount for name in claim if name.startswith("amount_")}
        links = {
            column: named
            for column in ("adjusted_from_claim_id", "adjusted_to_claim_id")
            if (named := draw(st.sampled_from(["", "", *NUMBERS, "K9"])))
        }
        row = claim | amounts | links | {"claim_id": number}
        row["adjudication_date"] = draw(st.sampled_from(["2024-03-10", "2024-03-11"]))
        if status := draw(st.sampled_from(["", "", "active", "cancelled", "paid", "void"])):
            row["status"] = status
        if draw(st.integers(0, 3)) == 0:
            row["bill_frequency"] = "8"
        claims.append(row)
        lines.append(line | amounts | {"claim_id": number})
        diagnoses.append({"claim_id": number, "sequence": "1", "code": "E11.65"})
    return of | {
        "claim": claims,
        "claim_line": lines,
        "claim_diagnosis": diagnoses,
        **{name: [] for name in TABLES if name.startswith("claim_") and name not in CHILDREN},
    }


CHILDREN = ("claim_line", "claim_diagnosis")


class Made(NamedTuple):
    checked: Checked
    bodies: dict[str, str]


def made(of, *, leave_out):
    """Return what becomes of rows: what the rules say, and the claims' resources by id."""
    rules = ClaimRules(
        Masker(SensitiveCodes()), definitions().crosswalks.get("claim_status"), leave_out=leave_out
    )
    context = RuleContext(definitions().book, NoKeys(), LISTED)
    claims = rules.finalize(check_rows(of, no_findings(), context))
    checked = check_totals(claims.decided)
    environment = Environment("p", b"key", definitions().crosswalks, {})
    partition = claims.partition(checked.tables, environment)
    bodies = {}
    for plan in definitions().patient_plans:
        if plan.name == "eob-professional":
            for run in render(plan, partition, environment):
                bodies.update(zip(run.ids.to_pylist(), run.bodies.to_pylist(), strict=True))
    return Made(checked, bodies)


def shuffled(of, chance):
    """Return the rows in another order; a row keeps its place in its file."""
    found = {}
    for name, table in of.items():
        order = list(range(table.num_rows))
        chance.shuffle(order)
        found[name] = table.take(pa.array(order, pa.int64()))
    return found


def resource(body):
    return json.loads('{"meta":{' + body, parse_float=Decimal)


def active_sums(bodies):
    """Return the totals of the claims published as active, by category."""
    sums = defaultdict(Decimal)
    for body in bodies.values():
        found = resource(body)
        if found["status"] == "active":
            for total in found["total"]:
                sums[total["category"]["coding"][0]["code"]] += total["amount"]["value"]
    return {name: total for name, total in sums.items() if total}


def active_claims(bodies):
    """Return how many claims are published as active."""
    return [resource(body)["status"] for body in bodies.values()].count("active")


NET = ("submitted", "noncovered", "discount", "eligible", "deductible", "memberliability")


@pytest.mark.slow
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
@given(of=worlds(), chance=st.randoms(use_true_random=False), leave_out=st.booleans())
def test_any_order_of_rows_gives_the_same_bytes_and_net_sums_are_those_of_active_claims(
    of, chance, leave_out
):
    rows = tables(of)
    found = made(rows, leave_out=leave_out)
    again = made(shuffled(rows, chance), leave_out=leave_out)
    assert again.bodies == found.bodies
    assert again.checked.money == found.checked.money
    reconcile(found.checked.counts)
    assert all(each.adds_up for each in found.checked.money.values())
    for level in ("claim", "claim_line"):
        net = {
            name: Decimal(each.net) / 100
            for name in NET
            if (each := found.checked.money.get(MoneyKey(level, "professional", name))) and each.net
        }
        assert net == active_sums(found.bodies)
        stated = found.checked.money.get(MoneyKey(level, "professional", "submitted"))
        assert (stated.net_claims if stated else 0) == active_claims(found.bodies)


@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck))
@given(of=worlds())
def test_leaving_out_takes_away_superseded_claims_and_changes_no_other(of):
    rows = tables(of)
    everything, rest = made(rows, leave_out=False), made(rows, leave_out=True)
    assert rest.bodies.items() <= everything.bodies.items()
    for key in everything.bodies.keys() - rest.bodies.keys():
        assert resource(everything.bodies[key])["status"] != "active"
    before, after = (one.checked.counts["claim"] for one in (everything, rest))
    left_out = len(everything.bodies) - len(rest.bodies)
    assert after.published == before.published - left_out
    assert after.superseded == before.superseded + left_out
    told = rest.checked.findings.column("rule").to_pylist().count("claim-superseded")
    assert told == left_out
    net = [{key: each.net for key, each in one.checked.money.items()} for one in (everything, rest)]
    assert net[0] == net[1]
