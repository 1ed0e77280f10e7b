"""Prior-authorization metrics of a year, which payers must publish from 2026 on.

42 CFR 422.122(c), 438.210(f), 440.230(e)(3), 457.732(c) and 45 CFR 156.223(c), from the rule
CMS-0057-F. What each number means, and which requests are left out, is in `prior_auth.toml`.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import as_array, column_of, trimmed
from etl.columns.codes import read_flags
from etl.columns.dates import read_timestamps
from etl.reports.pools import pool_cells
from etl.reports.public_numbers import withhold_small
from etl.web.pages import open_templates

_TEXTS: Final[Mapping[str, Mapping[str, str]]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
PRIOR_AUTH_TABLES: Final = ("prior_auth", "prior_auth_line", "prior_auth_required")
KINDS: Final = ("standard", "expedited")
_DECISIONS: Final = {
    "A1": "approved",
    "A2": "approved_in_part",
    "A6": "approved_in_part",
    "A3": "denied",
}
"""X12 306 (review action) → outcome in the metrics; other actions are no decision."""
_OUTCOMES: Final = ("approved", "approved_in_part", "denied")
_SHARES: Final = (*_OUTCOMES, "approved_after_appeal", "extended_and_approved")
_TIMED: Final = ("timed", "day", "order", "unknown")
"""Whether a request's hours are known, or only its days; if neither, the reason."""
_REQUIRED: Final = {
    "standard": ("approved", "denied", "approved_after_appeal"),
    "expedited": ("approved", "denied"),
}
"""Shares that 42 CFR 422.122(c) requires of each kind, besides the mean and median time."""
_TEXT_COLUMNS: Final = (
    "prior_auth_id", "status", "review_action", "first_review_action", "program", "contract_id",
)  # fmt: skip
_TIMES: Final = ("received_at", "decided_at", "first_decided_at")
_FLAGS: Final = ("expedited", "is_drug", "extended", "overturned")
_BATCH_ROWS: Final = 100_000
_HOUR: Final = 3_600_000_000
_DAY_LENGTH: Final = len("2026-01-01")


class Program(NamedTuple):
    """The program and contract of a request; empty if its rows state none."""

    program: str
    contract_id: str


@dataclass(slots=True)
class RequestCounts:
    """Counts of one kind of requests (standard or expedited) of a program.

    Attributes:
        counts: `requests`, each of `_SHARES`, and each of `_TIMED` -> how many requests.
        microseconds: from receipt to first decision, for each timed request.
    """

    counts: Counter[str] = field(default_factory=Counter)
    microseconds: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PriorAuthCounts:
    """Counts of a year's requests.

    Attributes:
        programs: program → kind → its requests.
        left_out: reason of `prior_auth.toml` → how many requests.
        required: services that need prior authorization in the year, by code system and code.
    """

    programs: Mapping[Program, Mapping[str, RequestCounts]]
    left_out: Mapping[str, int]
    required: tuple[Mapping[str, Any], ...]


class _FirstDecision(NamedTuple):
    """An X12 review action, and the date or instant at which it was taken; empty if unknown."""

    action: str
    at: str


def count_prior_auth(
    requests: pa.Table, lines: pa.Table, required: pa.Table, year: int
) -> PriorAuthCounts:
    """Count the requests of a year.

    Args:
        requests: rows of `prior_auth`, text as in the canonical layout.
        lines: rows of `prior_auth_line`.
        required: rows of `prior_auth_required`.
        year: calendar year.
    """
    programs: dict[Program, dict[str, RequestCounts]] = defaultdict(
        lambda: {kind: RequestCounts() for kind in KINDS}
    )
    left_out: Counter[str] = Counter()
    line_decisions = _line_decisions(requests, lines)
    seen_ids: set[str] = set()
    for request in _read_rows(requests, _TEXT_COLUMNS, _TIMES, _FLAGS):
        is_repeated = request["prior_auth_id"] in seen_ids
        seen_ids.add(request["prior_auth_id"])
        first = _first_decision(request, line_decisions)
        stated_year = (first.at if first.action in _DECISIONS else "") or request["received_at"]
        if stated_year and stated_year[:4] != str(year):
            continue
        is_of_drugs = line_decisions.get(request["prior_auth_id"]) is _DRUGS
        reason = "repeated" if is_repeated else _reason_to_leave_out(request, first, is_of_drugs)
        if reason:
            left_out[reason] += 1
            continue
        program = Program(request["program"], request["contract_id"])
        kind_counts = programs[program][KINDS[request["expedited"] == "Y"]]
        outcome = _DECISIONS[first.action]
        kind_counts.counts["requests"] += 1
        kind_counts.counts[outcome] += 1
        kind_counts.counts["approved_after_appeal"] += request["overturned"] == "Y"
        kind_counts.counts["extended_and_approved"] += (
            request["extended"] == "Y" and outcome == "approved"
        )
        times = (request["received_at"], first.at)
        if not all(times):
            kind_counts.counts["unknown"] += 1
            continue
        # If one of them is only a day, the time is the number of days from one to the other.
        is_day = min(map(len, times)) <= _DAY_LENGTH
        received, decided = (
            datetime.fromisoformat(time[:_DAY_LENGTH] if is_day else time) for time in times
        )
        if decided < received:
            kind_counts.counts["order"] += 1
        else:
            kind_counts.counts["day" if is_day else "timed"] += 1
            kind_counts.microseconds.append((decided - received) // timedelta(microseconds=1))
    return PriorAuthCounts(
        dict(sorted(programs.items())), left_out, tuple(_required_services(required, year))
    )


def _first_decision(
    request: Mapping[str, str], line_decisions: Mapping[str, _FirstDecision]
) -> _FirstDecision:
    """Return the first decision: from `first_*`, the current decision, or the lines."""
    if request["first_review_action"]:
        return _FirstDecision(request["first_review_action"].upper(), request["first_decided_at"])
    if request["overturned"] == "Y":  # the current decision is that on the appeal
        return _FirstDecision("A3", request["first_decided_at"])
    decided_at = request["first_decided_at"] or request["decided_at"]
    if request["review_action"]:
        return _FirstDecision(request["review_action"].upper(), decided_at)
    action, at = line_decisions.get(request["prior_auth_id"], _FirstDecision("", ""))
    return _FirstDecision(action, decided_at or at)


def _reason_to_leave_out(
    request: Mapping[str, str], first: _FirstDecision, is_of_drugs: bool
) -> str:
    """Return why a request isn't counted (a key of `left_out` in `prior_auth.toml`), or ""."""
    if request["is_drug"] == "Y" or is_of_drugs:
        return "drug"
    if request["status"].lower() in ("cancelled", "entered-in-error"):
        return "void"
    if first.action not in _DECISIONS:
        return "undecided"
    if request["overturned"] == "Y":
        # An appeal overturns a denial, never an approval.
        is_known = first.action != "A1" and (first.at or request["received_at"])
    else:
        is_known = first.at
    return "" if is_known else "unknown"


_DRUGS: Final = _FirstDecision("", "of drugs")
"""Marks a request whose lines are all for drugs."""


def _line_decisions(requests: pa.Table, lines: pa.Table) -> dict[str, _FirstDecision]:
    """Return the decisions of requests that state none, from their lines without drugs.

    Requests whose lines are all for drugs get `_DRUGS`, even if they state a decision.
    """
    request_ids = trimmed(column_of(requests, "prior_auth_id"))
    undecided_ids = request_ids.filter(pc.is_null(trimmed(column_of(requests, "review_action"))))
    line_ids = trimmed(column_of(lines, "prior_auth_id"))
    is_drug = pc.equal(read_flags(as_array(trimmed(column_of(lines, "is_drug")))).values, "Y")
    needed_ids = pa.concat_arrays([undecided_ids, line_ids.filter(is_drug)])
    lines = lines.filter(pc.is_in(line_ids, value_set=needed_ids))  # most requests need none
    undecided = set(undecided_ids.to_pylist())
    drug_requests, other_requests = set(), set()
    actions: dict[str, set[str]] = defaultdict(set)
    times: dict[str, list[str]] = defaultdict(list)
    for line in _read_rows(
        lines, ("prior_auth_id", "review_action"), ("decided_at",), ("is_drug",)
    ):
        number = line["prior_auth_id"]
        if line["is_drug"] == "Y":
            drug_requests.add(number)
            continue
        other_requests.add(number)
        if number in undecided:
            actions[number].add(line["review_action"].upper())
            times[number].append(line["decided_at"])
    decisions = {number: _FirstDecision(_combine(actions[number]), _latest(times[number]))
                 for number in actions}  # fmt: skip
    return decisions | dict.fromkeys(drug_requests - other_requests, _DRUGS)


def _combine(actions: set[str]) -> str:
    """Combine the lines' actions into one; empty while a line is pending."""
    if actions - _DECISIONS.keys():
        return ""
    return actions.pop() if len(actions) == 1 else "A2"


def _latest(times: list[str]) -> str:
    """Return the latest time, as a day if any of them is a day; empty if one is unknown."""
    if not all(times):
        return ""
    if all(len(time) > _DAY_LENGTH for time in times):
        return max(times, key=datetime.fromisoformat)
    return max(time[:_DAY_LENGTH] for time in times)


def _required_services(required: pa.Table, year: int) -> list[Mapping[str, Any]]:
    texts, dates = ("code_system", "code", "description", "programs"), ("from_date", "to_date")
    services = [
        row | {"programs": [name.strip() for name in row["programs"].split(";") if name.strip()]}
        for row in _read_rows(required, texts, dates, ())
        if (row["from_date"] or "0000")[:4] <= str(year) <= (row["to_date"] or "9999")[:4]
    ]
    return sorted(services, key=lambda row: (row["code_system"], row["code"], row["from_date"]))


def _read_rows(
    table: pa.Table, texts: tuple[str, ...], times: tuple[str, ...], flags: tuple[str, ...]
) -> Iterator[dict[str, str]]:
    """Yield rows of canonical text; unreadable and absent cells are ""."""
    columns = {name: trimmed(column_of(table, name)) for name in (*texts, *times, *flags)}
    columns |= {name: read_timestamps(as_array(columns[name])).values for name in times}
    columns |= {name: read_flags(as_array(columns[name])).values for name in flags}
    rows = pa.table({name: pc.fill_null(column, "") for name, column in columns.items()})
    for batch in rows.to_batches(_BATCH_ROWS):
        yield from batch.to_pylist()


def prior_auth_document(
    counts: PriorAuthCounts, year: int, payer: str, as_of: str, most_withheld: int | None
) -> dict[str, Any]:
    """Return the metrics as plain values; null if withheld or if a share has no base.

    Args:
        counts: the counted requests.
        year: calendar year.
        payer: the payer's name.
        as_of: day of the newest rows.
        most_withheld: counts from 1 to this many are withheld, and counts that would disclose them;
            None to withhold all counts but no other figure.
    """
    threshold = most_withheld or 0
    programs = [
        program._asdict() | _program_document(kinds, threshold)
        for program, kinds in counts.programs.items()
    ]
    return {
        "year": year,
        "payer": payer,
        "as_of": as_of,
        "small_cells": threshold,
        "definitions": dict(_TEXTS["definitions"]),
        "programs": programs if most_withheld is not None else list(map(_strip_counts, programs)),
        "withheld": [sentence for program in programs for sentence in _withheld(program)],
        "choice": _TEXTS["withheld"]["choice"],
        "left_out": [
            {
                "reason": sentence,
                "requests": None
                if most_withheld is None
                else withhold_small(count, count, threshold),
            }
            for key, sentence in _TEXTS["left_out"].items()
            if (count := counts.left_out.get(key, 0))
        ],
        "required": [dict(row) for row in counts.required],
    }


def _program_document(kinds: Mapping[str, RequestCounts], threshold: int) -> dict[str, Any]:
    """Return the metrics of a program; the rule asks for extensions over both kinds together."""
    shown = {kind: _kind_document(counts, threshold) for kind, counts in kinds.items()}
    extended, requests = (
        None if None in numbers else sum(numbers)
        for numbers in (
            [kind["extended_and_approved"]["count"] for kind in shown.values()],
            [kind["requests"] for kind in shown.values()],
        )
    )
    return shown | {"extended_and_approved": _share(extended, requests) | {"of": requests}}


def _strip_counts(value: Any) -> Any:
    """Return metrics without counts, except for zeros."""
    if isinstance(value, dict):
        return {name: _strip_counts(part) for name, part in value.items()}
    return None if isinstance(value, int) and value else value


def program_name(program: Mapping[str, Any]) -> str:
    """Return the program and contract of some requests."""
    return " ".join(filter(None, (program["program"], program["contract_id"]))) or "all requests"


def required_figures(
    program: Mapping[str, Any],
) -> Iterator[tuple[str, int | None, Mapping[str, float | None]]]:
    """Yield kind, number of requests, and the figures that 42 CFR 422.122(c) requires.

    Shares are in percent and times in hours; None if withheld. Figures about no request are left
    out.
    """
    for kind, names in _REQUIRED.items():
        numbers, hours = program[kind], program[kind]["hours"]
        figures = {name: numbers[name]["percent"] for name in names if numbers["requests"] != 0}
        if hours["timed"] != 0 or hours["day"] != 0:
            figures |= {name: hours[name] for name in ("mean", "median")}
        yield kind, numbers["requests"], figures
    name, extended = "extended_and_approved", program["extended_and_approved"]
    yield "all", extended["of"], {name: extended["percent"]} if extended["of"] != 0 else {}


def _withheld(program: Mapping[str, Any]) -> Iterator[str]:
    """Name the required figures of a program that are withheld."""
    for kind, _, figures in required_figures(program):
        for name in (name for name, value in figures.items() if value is None):
            yield f"{program_name(program)}, {kind}: {_TEXTS['required'][name]}"


def _kind_document(kind_counts: RequestCounts, threshold: int) -> dict[str, Any]:
    counts, times = kind_counts.counts, sorted(kind_counts.microseconds)
    pool = pool_cells({name: (counts[name], counts[name]) for name in _OUTCOMES}, threshold)
    requests = None if pool.is_withheld else counts["requests"]
    shown = {name: None if name in pool.names else counts[name] for name in _OUTCOMES}
    for name, total in (
        ("approved_after_appeal", counts["approved_in_part"] + counts["denied"]),
        ("extended_and_approved", counts["approved"]),
    ):
        shown[name] = withhold_small(counts[name], total, threshold)
    timing = pool_cells({name: (counts[name], counts[name]) for name in _TIMED}, threshold)
    middle, is_shown = len(times) // 2, len(times) > threshold
    return {
        "requests": requests,
        **{name: _share(shown[name], requests) for name in _SHARES},
        "hours": {
            "mean": _tenths(sum(times), len(times) * _HOUR) if is_shown else None,
            "median": _tenths(times[middle] + times[~middle], 2 * _HOUR) if is_shown else None,
            **{name: None if name in timing.names else counts[name] for name in _TIMED},
        },
    }


def _share(count: int | None, total: int | None) -> dict[str, Any]:
    percent = _tenths(100 * count, total) if count is not None and total else None
    return {"count": count, "percent": percent}


def _tenths(numerator: int, denominator: int) -> float:
    """Return a quotient with one decimal, halves rounded up."""
    return (20 * numerator + denominator) // (2 * denominator) / 10


def prior_auth_csv(document: Mapping[str, Any]) -> str:
    """Return the metrics as CSV, one line per number; withheld numbers are empty."""
    text = io.StringIO()
    names = ("program", "contract_id", "requests", "metric", "count", "of", "percent", "hours",
             "code_system", "code", "description")  # fmt: skip
    writer = csv.DictWriter(text, ("year", *names), restval="", lineterminator="\n")
    writer.writeheader()
    for row in _csv_rows(document):
        writer.writerow({"year": document["year"]} | row)
    return text.getvalue()


def _csv_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for program in document["programs"]:
        program_fields = {name: program[name] for name in Program._fields}
        for kind in KINDS:
            numbers, kind_fields = program[kind], program_fields | {"requests": kind}
            for name in _SHARES:
                base = {"of": numbers["requests"]}
                yield kind_fields | {"metric": name} | numbers[name] | base
            hours = numbers["hours"]
            for name in ("mean", "median"):
                of = (
                    None
                    if None in (hours["timed"], hours["day"])
                    else hours["timed"] + hours["day"]
                )
                metric = {"metric": f"{name}_hours", "hours": hours[name], "of": of}
                yield kind_fields | metric
            for name in _TIMED[1:]:
                yield kind_fields | {"metric": _TEXTS["not_timed"][name], "count": hours[name]}
        name = "extended_and_approved"
        yield program_fields | {"requests": "all", "metric": name} | program[name]
    for row in document["left_out"]:
        yield {"metric": f"left out: {row['reason']}", "count": row["requests"]}
    for row in document["required"]:
        item = {name: row[name] for name in ("code_system", "code", "description")}
        yield {"metric": "requires_prior_authorization"} | item


def prior_auth_page(document: Mapping[str, Any]) -> str:
    """Return the metrics as one self-contained HTML page."""
    templates = open_templates("etl.web")
    return templates.get_template("prior_auth_page.html.j2").render(numbers=document)
