"""Claims as the published bytes have them: blocks are unpacked, parsed as JSON, and read.

Neither indexes nor mappings are used: a block is read as any client reads it, NDJSON in gzip
(RFC 1952). FHIR paths are those of the CARIN guide's ExplanationOfBenefit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
from isal import igzip

from etl.model.canonical_tables import AMOUNT_CATEGORIES

ADJUSTMENT: Final = "adjustmentreason"
"""Category of the amounts of CARC adjustments."""
OTHER: Final = "other"
"""Stands for every category with an amount that is not known here; none is expected."""
CATEGORIES: Final = (*AMOUNT_CATEGORIES, ADJUSTMENT, OTHER)
ABSENT: Final = np.iinfo(np.int64).min
"""Cents where no amount is stated."""
NO_CENTS: Final = ABSENT + 1
"""Cents of what is no amount in whole cents; equal to nothing."""

_CODES: Final = {name: code for code, name in enumerate(CATEGORIES)}
_OTHER_CODE: Final = _CODES[OTHER]
_CLAIM_NUMBER: Final = "uc"
_MEMBER_NUMBER: Final = "MB"
_PLAN: Final = "plan"
_INSTITUTIONAL: Final = "institutional"
_LARGEST: Final = 10**15

Json = Mapping[str, Any]


@dataclass
class _Amounts:
    """Amounts in the order read: the owner of each, its category, its value."""

    owners: list[int] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def take(self, owner: int, entries: Iterable[Json]) -> None:
        for entry in entries:
            amount = entry.get("amount")
            if amount is not None and "value" in amount:
                code = _CODES.get(entry["category"]["coding"][0]["code"], _OTHER_CODE)
                self.owners.append(owner)
                self.categories.append(code)
                self.values.append(amount["value"])

    def cents(self, owners: int) -> Any:
        """Return numpy `int64`, shape (owners, categories): sums in cents, `ABSENT` for none."""
        at = np.array(self.owners, dtype=np.int64), np.array(self.categories, dtype=np.int64)
        cents = cents_of(self.values)
        table = np.zeros((owners, len(CATEGORIES)), dtype=np.int64)
        odd = cents == NO_CENTS
        np.add.at(table, at, np.where(odd, 0, cents))
        there = np.zeros(table.shape, dtype=np.bool_)
        there[at] = True
        table[~there] = ABSENT
        table[at[0][odd], at[1][odd]] = NO_CENTS
        return table


def cents_of(values: Iterable[float]) -> Any:
    """Return JSON numbers as whole cents, numpy `int64`; `NO_CENTS` for what is none.

    A parser gives the nearest binary fraction. Up to 15 digits that is no other amount's, so that
    the cents are exact.
    """
    numbers = np.array(list(values), dtype=np.float64)
    whole = np.rint(numbers * 100)
    fine = (np.abs(whole) < _LARGEST) & (whole / 100 == numbers)
    return np.where(fine, np.where(fine, whole, 0).astype(np.int64), NO_CENTS)


@dataclass(frozen=True, slots=True)
class PublishedClaims:
    """Claims of some blocks.

    Attributes:
        texts: name of a fact -> its text for each claim, numpy `object`; empty where absent.
        payments: numpy `int64`, shape (claims,): `payment.amount` in cents.
        totals: numpy `int64`, shape (claims, categories): `total`, in cents.
        headers: the same of `adjudication`.
        claims: numpy `int64`, shape (items,): the claim of each item.
        numbers: numpy `int64`, shape (items,): `item.sequence`.
        dates: numpy `object`, shape (items,): `start/end` of the service, or its one day.
        lines: numpy `int64`, shape (items, categories): `item.adjudication`, in cents.
        members: member number -> birth date, of each Patient.
        resources: FHIR type -> how many.
    """

    texts: Mapping[str, Any]
    payments: Any
    totals: Any
    headers: Any
    claims: Any
    numbers: Any
    dates: Any
    lines: Any
    members: Mapping[str, str]
    resources: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.payments)


TEXTS: Final = (
    "id",
    "number",
    "member",
    "type",
    "status",
    "start",
    "end",
    "created",
    "paid",
    "insurer",
    "coverage",
    "plan",
)
"""Facts of a claim that are text."""


class BlockReader:
    """Reads blocks, one patient's at a time."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, ...]] = []
        self._payments: list[float | None] = []
        self._totals, self._headers, self._lines = _Amounts(), _Amounts(), _Amounts()
        self._items: list[tuple[int, int, str]] = []
        self._members: dict[str, str] = {}
        self._resources: Counter[str] = Counter()

    def block(self, data: bytes) -> None:
        """Read a patient's block, as its object holds it."""
        plans, patient, member, first = {}, "", "", len(self._texts)
        # No resource outlives its turn: memory that is used again at once is several times as fast.
        for line in _unpacked(data).split(b"\n")[1:-1]:  # the header line is in front
            resource = orjson.loads(line)
            kind = resource["resourceType"]
            self._resources[kind] += 1
            if kind == "ExplanationOfBenefit":
                self._claim(resource)
            elif kind == "Coverage":
                plans[f"Coverage/{resource['id']}"] = _plan(resource)
            elif kind == "Patient":
                patient = f"Patient/{resource['id']}"
                member = _identifier(resource, _MEMBER_NUMBER)
                self._members[member] = resource.get("birthDate", "")
        for at in range(first, len(self._texts)):
            logical_id, number, owner, *texts, coverage = self._texts[at]
            self._texts[at] = (
                *(logical_id, number, member if owner == patient else "", *texts, coverage),
                plans.get(coverage, ""),
            )

    def _claim(self, claim: Json) -> None:
        at = len(self._texts)
        period, payment = claim.get("billablePeriod", {}), claim.get("payment", {})
        self._texts.append(
            (
                claim["id"],
                _identifier(claim, _CLAIM_NUMBER),
                claim["patient"]["reference"],
                _type(claim),
                claim["status"],
                period.get("start", ""),
                period.get("end", ""),
                claim.get("created", ""),
                payment.get("date", ""),
                claim["insurer"]["reference"],
                claim["insurance"][0]["coverage"]["reference"],
            )
        )
        self._payments.append(payment.get("amount", {}).get("value"))
        self._totals.take(at, claim.get("total", ()))
        self._headers.take(at, claim.get("adjudication", ()))
        for item in claim.get("item", ()):
            line = len(self._items)
            served = item.get("servicedDate")
            if served is None:
                period = item.get("servicedPeriod", {})
                served = f"{period.get('start', '')}/{period.get('end', '')}"
            self._items.append((at, item["sequence"], served))
            self._lines.take(line, item.get("adjudication", ()))

    def claims(self) -> PublishedClaims:
        """Return what was read so far."""
        columns = list(zip(*self._texts, strict=True)) or [()] * len(TEXTS)
        items = list(zip(*self._items, strict=True)) or [(), (), ()]
        paid = [0 if value is None else value for value in self._payments]
        stated = np.array([value is not None for value in self._payments], dtype=np.bool_)
        return PublishedClaims(
            texts={
                name: np.array(column, dtype=object)
                for name, column in zip(TEXTS, columns, strict=True)
            },
            payments=np.where(stated, cents_of(paid), ABSENT),
            totals=self._totals.cents(len(self._texts)),
            headers=self._headers.cents(len(self._texts)),
            claims=np.array(items[0], dtype=np.int64),
            numbers=np.array(items[1], dtype=np.int64),
            dates=np.array(items[2], dtype=object),
            lines=self._lines.cents(len(self._items)),
            members=self._members,
            resources=self._resources,
        )


def _unpacked(data: bytes) -> bytes:
    plain: bytes = igzip.decompress(data)  # type: ignore[no-untyped-call]
    return plain


def _type(claim: Json) -> str:
    """Return the type of a claim; of an institutional one, whether it is of an inpatient."""
    found: str = claim["type"]["coding"][0]["code"]
    if found == _INSTITUTIONAL:
        found = claim.get("subType", {"coding": [{"code": found}]})["coding"][0]["code"]
    return found


def _identifier(resource: Json, kind: str) -> str:
    """Return the identifier of a type; empty where there is none."""
    for each in resource.get("identifier", ()):
        if any(coding.get("code") == kind for coding in each.get("type", {}).get("coding", ())):
            value: str = each.get("value", "")
            return value
    return ""


def _plan(coverage: Json) -> str:
    """Return the plan of a Coverage; empty where it states none."""
    for each in coverage.get("class", ()):
        if each["type"]["coding"][0]["code"] == _PLAN:
            value: str = each.get("value", "")
            return value
    return ""
