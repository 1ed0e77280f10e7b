"""Prior-authorization metrics against cases that were read, and a slow count of plain rows."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from html import escape
from itertools import combinations
from statistics import median

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.reports.prior_auth import (
    count_prior_auth,
    prior_auth_csv,
    prior_auth_document,
    prior_auth_page,
)
from tests.given.tables import table

HEADER = (
    "prior_auth_id", "status", "expedited", "received_at", "decided_at", "review_action", "is_drug",
    "extended", "overturned", "first_review_action", "first_decided_at", "program", "contract_id",
)  # fmt: skip
LINE = ("prior_auth_id", "review_action", "decided_at", "is_drug")
REQUIRED = ("code", "code_system", "description", "from_date", "to_date", "programs")
SHARES = (
    "approved", "approved_in_part", "denied", "approved_after_appeal", "extended_and_approved",
)  # fmt: skip
TIMES = ("timed", "day", "order", "unknown")


def rows(names, given_rows):
    schema = pa.schema([(name, pa.string()) for name in names])
    return pa.Table.from_pylist([{n: row.get(n) for n in names} for row in given_rows], schema)


def document(requests, lines=(), required=(), most=0, year=2026):
    counted = count_prior_auth(
        rows(HEADER, requests), rows(LINE, lines), rows(REQUIRED, required), year
    )
    return prior_auth_document(counted, year, "Alder Health Plan", "2027-01-31", most)


def request(number, **cells):
    usual = {
        "received_at": "2026-03-01T08:00:00Z",
        "decided_at": "2026-03-02T08:00:00Z",
        "review_action": "A1",
    }
    return {"prior_auth_id": f"PA{number}", **usual, **cells}


@pytest.mark.parametrize(*table(__file__, "judged"))
def test_a_request_is_judged(cells, lines, found):
    shown = document([request(1, **cells)], [{"prior_auth_id": "PA1"} | line for line in lines])
    (reason,) = [row["reason"] for row in shown["left_out"]] or [""]
    counted = [
        f"{kind}: {name}"
        for program in shown["programs"]
        for kind in ("standard", "expedited")
        for name in SHARES
        if program[kind][name]["count"]
    ]
    times = [
        f"{program[kind]['hours'][name]} {name}"
        for program in shown["programs"]
        for kind in ("standard", "expedited")
        for name in ("mean", "day", "order", "unknown")
        if program[kind]["hours"][name] not in (None, 0)
    ]
    assert [*counted, *times, *([f"left out: {reason}"] if reason else [])] == found


def test_programs_and_contracts_are_counted_apart_and_the_list_is_of_the_year():
    required = [
        {"code": "E0470", "code_system": "HCPCS", "description": "RAD", "programs": "MA; CHIP"},
        {"code": "99999", "code_system": "CPT", "to_date": "2025-12-31"},
        {"code": "70551", "code_system": "CPT", "from_date": "20261231"},
    ]
    contracts = [{"program": "MA", "contract_id": "H1"}, {"program": "Medicaid"}, {}]
    shown = document([request(at, **c) for at, c in enumerate(contracts)], required=required)
    assert [(p["program"], p["contract_id"]) for p in shown["programs"]] == [
        ("", ""),
        ("MA", "H1"),
        ("Medicaid", ""),
    ]
    assert [(r["code"], r["from_date"], r["programs"]) for r in shown["required"]] == [
        ("70551", "2026-12-31", []),
        ("E0470", "", ["MA", "CHIP"]),
    ]
    lines = list(csv.DictReader(io.StringIO(prior_auth_csv(shown))))
    (approved,) = [
        line
        for line in lines
        if (line["program"], line["requests"], line["metric"]) == ("MA", "standard", "approved")
    ]
    assert (approved["count"], approved["of"], approved["percent"]) == ("1", "1", "100.0")
    assert [line["code"] for line in lines if line["code"]] == ["70551", "E0470"]
    page = prior_auth_page(shown)
    assert "<h2>MA H1</h2>" in page
    assert "100.0% (1)" in page
    assert "E0470" in page


def test_a_few_denials_are_withheld_with_what_they_follow_from():
    requests = [request(at) for at in range(80)]
    requests += [request(100 + at, review_action="A3") for at in range(9)]
    requests += [request(200 + at, expedited="Y") for at in range(4)]
    shown = document(requests, most=10)["programs"][0]
    assert shown["standard"]["requests"] == 89
    assert shown["standard"]["denied"] == {"count": None, "percent": None}
    assert shown["standard"]["approved"] == {"count": None, "percent": None}
    assert shown["standard"]["approved_in_part"] == {"count": 0, "percent": 0.0}
    assert shown["standard"]["hours"]["mean"] == 24.0
    assert shown["expedited"]["requests"] is None
    assert shown["expedited"]["hours"]["mean"] is None
    page = prior_auth_page(document(requests, most=10))
    named = [
        f"all requests, {figure}"
        for figure in (
            "standard: percentage approved",
            "standard: percentage denied",
            "expedited: percentage approved",
            "expedited: mean time to decision",
            "expedited: median time to decision",
        )
    ]
    whole = document(requests, most=10)
    assert set(named) <= set(whole["withheld"])
    assert all(f"<li>{name}</li>" in page for name in whole["withheld"])
    assert escape(whole["choice"]) in page
    assert "report.small_cells" in whole["choice"]


def test_percentages_and_times_without_counts_withhold_nothing():
    requests = [request(at) for at in range(7)] + [request(9, review_action="A3")]
    exact, shown = document(requests), document(requests, most=None)
    (program,) = shown["programs"]
    assert program["standard"]["approved"] == {"count": None, "percent": 87.5}
    assert program["standard"]["hours"]["mean"] == 24.0
    assert program["standard"]["requests"] is program["standard"]["hours"]["timed"] is None
    assert program["expedited"]["requests"] == 0
    assert shown["withheld"] == []
    assert (shown["year"], shown["required"]) == (exact["year"], exact["required"])
    assert "87.5%<" in prior_auth_page(shown).replace("\n", "")
    assert not re.search(r"[78] |\(\d", prior_auth_csv(shown))


# ---- the oracle: no code of the program, one request at a time -------------------------------

MOMENTS = st.sampled_from(
    ["", "2026-01-02", "2025-12-31T23:59:59Z", "2026-01-01T00:30:00+14:00", "2026-01-01T12:00:00Z",
     "2026-01-03T12:00:00.5-05:00", "2026-12-31T23:00:00-08:00", "2027-01-01T00:00:00Z",
     "2026-06-01T07:07:07Z", "2026-06-31", "soon"]
)  # fmt: skip
INSTANTS = st.integers(0, 10_000).map(
    lambda minutes: (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)).isoformat()
)
SOON = st.one_of(INSTANTS, INSTANTS, MOMENTS)
ACTIONS = st.sampled_from(["A1", "A1", "a1", "A2", "A3", "A3", "A4", "A6", "C", ""])
FLAGS = st.sampled_from(["Y", "N", "", "", "no", "TRUE"])
REQUESTS = st.fixed_dictionaries(
    {
        "prior_auth_id": st.integers(1, 40).map("PA{}".format),
        "status": st.sampled_from(["", "active", "active", "cancelled", "entered-in-error"]),
        "received_at": SOON,
        "decided_at": SOON,
        "review_action": ACTIONS,
        "first_review_action": st.sampled_from(["", "", "", "A3", "A1"]),
        "first_decided_at": st.one_of(st.just(""), MOMENTS),
        "expedited": FLAGS,
        "is_drug": st.sampled_from(["", "", "N", "Y"]),
        "extended": FLAGS,
        "overturned": st.sampled_from(["", "", "", "N", "Y"]),
        "program": st.sampled_from(["", "", "", "MA"]),
        "contract_id": st.sampled_from(["", "", "", "H1"]),
    }
)
LINES = st.fixed_dictionaries(
    {
        "prior_auth_id": st.integers(1, 40).map("PA{}".format),
        "review_action": ACTIONS,
        "decided_at": SOON,
        "is_drug": st.sampled_from(["", "", "N", "Y"]),
    }
)


def yes(text):
    return text.upper() in ("Y", "TRUE")


def when(text):
    """Return a moment, a day as text, or nothing."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT.*", text):
        return datetime.fromisoformat(text)
    return text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) and text != "2026-06-31" else None


def year_of(moment):
    return None if moment is None else int(str(moment)[:4])


def first_of(one, lines):
    """Return action and moment of a request's first decision."""
    mine = [line for line in lines if line["prior_auth_id"] == one["prior_auth_id"]]
    mine = [line for line in mine if not yes(line["is_drug"])]
    if one["first_review_action"]:
        return one["first_review_action"], when(one["first_decided_at"])
    if yes(one["overturned"]):
        return "A3", when(one["first_decided_at"])
    stated = when(one["first_decided_at"]) or when(one["decided_at"])
    if one["review_action"]:
        return one["review_action"].upper(), stated
    if not mine:
        return "", stated
    taken = {line["review_action"].upper() for line in mine}
    action = "A2"
    if len(taken) == 1:
        action = taken.pop()
    elif taken & {"", "A4", "C"}:
        action = ""
    moments = [when(line["decided_at"]) for line in mine]
    if stated is None and None not in moments:
        if all(isinstance(moment, datetime) for moment in moments):
            stated = max(moments)
        else:
            stated = max(str(moment)[:10] for moment in moments)
    return action, stated


def plainly(requests, lines):
    """Return what is counted: (program, contract, kind) -> what was found; and reasons."""
    found, reasons, seen = {}, [], set()
    for one in requests:
        again = one["prior_auth_id"] in seen
        seen.add(one["prior_auth_id"])
        of_it = [line for line in lines if line["prior_auth_id"] == one["prior_auth_id"]]
        action, moment = first_of(one, lines)
        decided = action in ("A1", "A2", "A3", "A6")
        year = (year_of(moment) if decided else None) or year_of(when(one["received_at"]))
        if year not in (None, 2026):
            continue
        overturned = yes(one["overturned"])
        if again:
            reasons.append("another row has the same number; only the first is counted")
        elif yes(one["is_drug"]) or (of_it and all(yes(line["is_drug"]) for line in of_it)):
            reasons.append("only for drugs")
        elif one["status"] in ("cancelled", "entered-in-error"):
            reasons.append("cancelled or entered in error")
        elif not decided:
            reasons.append("no decision yet, or none that approves or denies")
        elif (overturned and (action == "A1" or (moment or when(one["received_at"])) is None)) or (
            moment is None and not overturned
        ):
            reasons.append("the first decision or its date is missing")
        else:
            kind = "expedited" if yes(one["expedited"]) else "standard"
            key = (one["program"], one["contract_id"], kind)
            found.setdefault(key, []).append((action, overturned, yes(one["extended"]),
                                              when(one["received_at"]), moment))  # fmt: skip
    return found, reasons


def tenth(number):
    """Return a fraction with one decimal, halves up."""
    return float((number * 10 + Fraction(1, 2)).__floor__()) / 10


@given(st.lists(REQUESTS, max_size=40), st.lists(LINES, max_size=25))
def test_the_metrics_are_those_of_a_plain_count(requests, lines):
    shown = document(requests, lines)
    found, reasons = plainly(requests, lines)
    assert {row["reason"]: row["requests"] for row in shown["left_out"]} == {
        reason: reasons.count(reason) for reason in reasons
    }
    assert {(p["program"], p["contract_id"]) for p in shown["programs"]} == {
        key[:2] for key in found
    }
    for program in shown["programs"]:
        extended = total = 0
        for kind in ("standard", "expedited"):
            mine = found.get((program["program"], program["contract_id"], kind), [])
            numbers = program[kind]
            counts = {
                "approved": sum(one[0] == "A1" for one in mine),
                "approved_in_part": sum(one[0] in ("A2", "A6") for one in mine),
                "denied": sum(one[0] == "A3" for one in mine),
                "approved_after_appeal": sum(one[1] for one in mine),
                "extended_and_approved": sum(one[2] and one[0] == "A1" for one in mine),
            }
            assert numbers["requests"] == len(mine)
            for name, count in counts.items():
                percent = tenth(Fraction(100 * count, len(mine))) if mine else None
                assert numbers[name] == {"count": count, "percent": percent}
            pairs = [(a, b) for *_, a, b in mine if a is not None and b is not None]
            exact = [p for p in pairs if all(isinstance(moment, datetime) for moment in p)]
            days = [[date.fromisoformat(str(m)[:10]) for m in p] for p in pairs if p not in exact]
            elapsed = [b - a for a, b in exact] + [b - a for a, b in days]
            hours = [
                Fraction(time // timedelta(microseconds=1), 3_600_000_000)
                for time in elapsed
                if time >= timedelta(0)
            ]
            in_days = sum(a <= b for a, b in days)
            assert numbers["hours"] == {
                "mean": tenth(sum(hours) / len(hours)) if hours else None,
                "median": tenth(median(hours)) if hours else None,
                "timed": len(hours) - in_days,
                "day": in_days,
                "order": len(pairs) - len(hours),
                "unknown": len(mine) - len(pairs),
            }
            extended, total = extended + counts["extended_and_approved"], total + len(mine)
        assert program["extended_and_approved"] == {
            "count": extended,
            "percent": tenth(Fraction(100 * extended, total)) if total else None,
            "of": total,
        }


@given(st.lists(REQUESTS, max_size=120).map(lambda all_rows: [
    row | {"prior_auth_id": f"PA{at}"} for at, row in enumerate(all_rows)
]))  # fmt: skip
def test_no_small_number_is_shown_or_follows_from_one_that_is(requests):
    exact, shown = document(requests), document(requests, most=5)
    small = range(1, 6)
    assert not any(row["requests"] in small for row in shown["left_out"])
    for program, true in zip(shown["programs"], exact["programs"], strict=True):
        for kind in ("standard", "expedited"):
            numbers = program[kind]
            counts = {name: numbers[name]["count"] for name in SHARES}
            counts |= {name: numbers["hours"][name] for name in TIMES}
            assert not any(count in small for count in (numbers["requests"], *counts.values()))
            for parts in (SHARES[:3], TIMES):
                # What is withheld of a total that is shown is several parts, not small together.
                of = true[kind] if parts == SHARES[:3] else true[kind]["hours"]
                exact_of = {n: of[n]["count"] if parts == SHARES[:3] else of[n] for n in parts}
                hidden = [exact_of[name] for name in parts if counts[name] is None]
                if numbers["requests"] is not None and hidden:
                    assert len(hidden) > 1
                    assert sum(hidden) not in small
            for part, whole in combinations(
                (counts["extended_and_approved"], counts["approved"]), 2
            ):
                if None not in (part, whole):
                    assert whole - part not in small
            if numbers["hours"]["mean"] is not None:
                assert true[kind]["hours"]["timed"] + true[kind]["hours"]["day"] not in small
        assert program["extended_and_approved"]["count"] not in small
