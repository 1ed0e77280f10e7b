"""Read claims and prior authorizations from published blocks.

Blocks are read as any client reads them, as NDJSON in gzip (RFC 1952), without indexes or mappings.
FHIR paths are those of the CARIN guide's ExplanationOfBenefit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from isal import igzip

from etl.certificate.published_prior_auths import PublishedPriorAuth, read_prior_auth
from etl.model.canonical_tables import AMOUNT_CATEGORIES

ADJUSTMENT: Final = "adjustmentreason"
"""Category of the amounts of CARC adjustments."""
CLAIM: Final = "ExplanationOfBenefit"
"""FHIR type of a claim."""
_CLAIM_USE: Final = "claim"
"""`ExplanationOfBenefit.use` of a claim; prior authorizations have another."""
OTHER: Final = "other"
"""Category of amounts with an unknown category; none are expected."""
CATEGORIES: Final = (*AMOUNT_CATEGORIES, ADJUSTMENT, OTHER)
ABSENT: Final = np.iinfo(np.int64).min
"""Cents if no amount is stated."""
NO_CENTS: Final = ABSENT + 1
"""Cents of a value that isn't a number of whole cents; it matches no amount."""

_CODES: Final = {name: code for code, name in enumerate(CATEGORIES)}
_OTHER_CODE: Final = _CODES[OTHER]
_CLAIM_NUMBER: Final = "uc"
_MEMBER_NUMBER: Final = "MB"
_PLAN: Final = "plan"
_INSTITUTIONAL: Final = "institutional"
_MAX_CENTS: Final = 10**15
_CLAIM_START: Final = b'{"resourceType":"ExplanationOfBenefit"'
"""Beginning of nearly all claims; for other beginnings, the type is parsed."""


# -- the parts of resources that are read; the parser skips all others. Absent values are empty.
# With gc=False, Python doesn't look for reference cycles, which JSON can't have.


class _Coding(msgspec.Struct, gc=False, frozen=True):
    code: str = ""


class _Concept(msgspec.Struct, gc=False, frozen=True):
    coding: tuple[_Coding, ...] = (_Coding(),)  # FHIR has no empty arrays

    @property
    def code(self) -> str:
        return self.coding[0].code


class _Identifier(msgspec.Struct, gc=False, frozen=True):
    type: _Concept = _Concept()
    value: str = ""


class _Reference(msgspec.Struct, gc=False, frozen=True):
    reference: str = ""


class _Period(msgspec.Struct, gc=False, frozen=True):
    start: str = ""
    end: str = ""


class _Money(msgspec.Struct, gc=False, frozen=True):
    value: float = nan


class _Adjudication(msgspec.Struct, gc=False, frozen=True):
    """An entry of `total`, `adjudication` or `item.adjudication`."""

    category: _Concept = _Concept()
    amount: _Money = _Money()


class _Item(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    sequence: int
    serviced_date: str | None = None
    serviced_period: _Period = _Period()
    adjudication: tuple[_Adjudication, ...] = ()


class _Insurance(msgspec.Struct, gc=False, frozen=True):
    coverage: _Reference = _Reference()


class _Payment(msgspec.Struct, gc=False, frozen=True):
    date: str = ""
    amount: _Money = _Money()


class _Resource(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    resource_type: str


class _Claim(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    resource_type: str
    use: str = ""
    id: str = ""
    identifier: tuple[_Identifier, ...] = ()
    patient: _Reference = _Reference()
    type: _Concept = _Concept()
    sub_type: _Concept = _Concept()
    status: str = ""
    billable_period: _Period = _Period()
    created: str = ""
    payment: _Payment = _Payment()
    insurer: _Reference = _Reference()
    insurance: tuple[_Insurance, ...] = ()
    total: tuple[_Adjudication, ...] = ()
    adjudication: tuple[_Adjudication, ...] = ()
    item: tuple[_Item, ...] = ()


class _Class(msgspec.Struct, gc=False, frozen=True):
    type: _Concept = _Concept()
    value: str = ""


class _Coverage(msgspec.Struct, gc=False, frozen=True):
    id: str = ""
    classes: tuple[_Class, ...] = msgspec.field(default=(), name="class")


class _Patient(msgspec.Struct, gc=False, frozen=True, rename="camel"):
    id: str = ""
    identifier: tuple[_Identifier, ...] = ()
    birth_date: str = ""


_RESOURCE_DECODER: Final = msgspec.json.Decoder(_Resource)
_CLAIM_DECODER: Final = msgspec.json.Decoder(_Claim)
_COVERAGE_DECODER: Final = msgspec.json.Decoder(_Coverage)
_PATIENT_DECODER: Final = msgspec.json.Decoder(_Patient)


class _Amounts:
    """Amounts in the order read."""

    def __init__(self) -> None:
        self._owners: list[int] = []
        self._counts: list[int] = []
        self._codes: list[int] = []
        self._values: list[float] = []  # not a number where an entry has no amount

    def add(self, owner: int, entries: Sequence[_Adjudication]) -> None:
        """Add the entries of an owner; those without an amount are dropped later."""
        code_of = _CODES.get
        self._owners.append(owner)
        self._counts.append(len(entries))
        self._values += [entry.amount.value for entry in entries]
        self._codes += [code_of(entry.category.coding[0].code, _OTHER_CODE) for entry in entries]

    def cents(self, count: int) -> Any:
        """Return numpy `int64`, shape (owners, categories): sums in cents, `ABSENT` for none."""
        values = _to_numpy(self._values, np.float64)
        has_amount = ~np.isnan(values)
        owners = np.repeat(_to_numpy(self._owners, np.int64), _to_numpy(self._counts, np.int64))
        cells = (owners * len(CATEGORIES) + _to_numpy(self._codes, np.int8))[has_amount]
        cents = cents_of(values[has_amount])
        is_invalid = cents == NO_CENTS
        size = count * len(CATEGORIES)
        sums, is_filled = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.bool_)
        np.add.at(sums, cells, np.where(is_invalid, 0, cents))
        is_filled[cells] = True
        sums[~is_filled] = ABSENT
        sums[cells[is_invalid]] = NO_CENTS
        return sums.reshape(count, len(CATEGORIES))


def _to_numpy(values: Sequence[float], dtype: Any) -> Any:
    return np.fromiter(values, dtype, len(values))  # several times as fast as `numpy.array`


def cents_of(values: Any) -> Any:
    """Convert numpy `float64` to whole cents, `int64`; `NO_CENTS` for others.

    A parser returns the nearest binary fraction. Up to 15 digits no two amounts share one, so
    the cents are exact.
    """
    cents = np.rint(values * 100)
    is_exact = (np.abs(cents) < _MAX_CENTS) & (cents / 100 == values)
    return np.where(is_exact, np.where(is_exact, cents, 0).astype(np.int64), NO_CENTS)


@dataclass(frozen=True, slots=True)
class PublishedClaims:
    """Claims of some blocks.

    Attributes:
        texts: name of a fact -> its text for each claim, Arrow `string`, empty if absent: the facts
            of `_TEXT_FACTS`, the member number of the block, and the plan of the Coverage.
        payments: numpy `int64`, shape (claims,): `payment.amount` in cents.
        totals: numpy `int64`, shape (claims, categories): `total`, in cents.
        headers: the same for `adjudication`.
        claims: numpy `int64`, shape (items,): the claim of each item.
        numbers: numpy `int64`, shape (items,): `item.sequence`.
        dates: Arrow `string`, for each item: `start/end` of the service, or its only day.
        lines: numpy `int64`, shape (items, categories): `item.adjudication`, in cents.
        members: member number -> birth date, for each Patient.
        resources: FHIR type -> number of resources.
        prior_auths: member number of the block, and the prior authorization.
    """

    texts: Mapping[str, pa.StringArray]
    payments: Any
    totals: Any
    headers: Any
    claims: Any
    numbers: Any
    dates: pa.StringArray
    lines: Any
    members: Mapping[str, str]
    resources: Mapping[str, int]
    prior_auths: Sequence[tuple[str, PublishedPriorAuth]]

    def __len__(self) -> int:
        return len(self.payments)


_TEXT_FACTS: Final = (
    "id",
    "number",
    "patient",
    "type",
    "status",
    "start",
    "end",
    "created",
    "paid",
    "insurer",
    "coverage",
)
"""Facts of a claim that are text, in the order in which they are read."""
_PATIENT_INDEX: Final = _TEXT_FACTS.index("patient")
_COVERAGE_ID: Final = _TEXT_FACTS.index("coverage")


class BlockReader:
    """Reads blocks, one patient's at a time."""

    def __init__(self) -> None:
        self._texts: list[tuple[str, ...]] = []
        self._owners: list[str] = []
        self._plans: list[str] = []
        self._payments: list[float] = []
        self._totals, self._headers, self._lines = _Amounts(), _Amounts(), _Amounts()
        self._items: list[int] = []
        self._numbers: list[int] = []
        self._dates: list[str] = []
        self._members: dict[str, str] = {}
        self._resources: Counter[str] = Counter()
        self._prior_auths: list[tuple[str, PublishedPriorAuth]] = []

    def read_block(self, data: bytes) -> None:
        """Read a patient's block from its compressed bytes."""
        plans, patient, member, first_claim = {}, "", "", len(self._texts)
        prior_auths = []
        text = _decompress(data)
        lines, end = memoryview(text), text.index(b"\n")  # the header line is in front
        # Drop each resource at once: reusing its memory is several times as fast.
        while (start := end + 1) < len(text):
            end = text.index(b"\n", start)
            is_claim, line = text.startswith(_CLAIM_START, start), lines[start:end]
            resource_type = CLAIM if is_claim else _RESOURCE_DECODER.decode(line).resource_type
            self._resources[resource_type] += 1
            if resource_type == CLAIM:
                claim = _CLAIM_DECODER.decode(line)
                if claim.use == _CLAIM_USE:
                    self._add_claim(claim)
                else:
                    prior_auths.append(read_prior_auth(line))
            elif resource_type == "Coverage":
                coverage = _COVERAGE_DECODER.decode(line)
                plans[f"Coverage/{coverage.id}"] = _plan_of_coverage(coverage)
            elif resource_type == "Patient":
                resource = _PATIENT_DECODER.decode(line)
                patient, member = (
                    f"Patient/{resource.id}",
                    _identifier_value(resource.identifier, _MEMBER_NUMBER),
                )
                self._members[member] = resource.birth_date
        block_texts = self._texts[first_claim:]
        self._owners += [
            member if texts[_PATIENT_INDEX] == patient else "" for texts in block_texts
        ]
        self._plans += [plans.get(texts[_COVERAGE_ID], "") for texts in block_texts]
        self._prior_auths += [
            (member if prior_auth.patient == patient else "", prior_auth)
            for prior_auth in prior_auths
        ]

    def _add_claim(self, claim: _Claim) -> None:
        claim_index = len(self._texts)
        self._texts.append(
            (
                claim.id,
                _identifier_value(claim.identifier, _CLAIM_NUMBER),
                claim.patient.reference,
                _claim_type(claim),
                claim.status,
                claim.billable_period.start,
                claim.billable_period.end,
                claim.created,
                claim.payment.date,
                claim.insurer.reference,
                claim.insurance[0].coverage.reference if claim.insurance else "",
            )
        )
        self._payments.append(claim.payment.amount.value)
        self._totals.add(claim_index, claim.total)
        self._headers.add(claim_index, claim.adjudication)
        for item_index, item in enumerate(claim.item, len(self._items)):
            self._items.append(claim_index)
            self._numbers.append(item.sequence)
            self._dates.append(_service_dates(item))
            self._lines.add(item_index, item.adjudication)

    def claims(self) -> PublishedClaims:
        """Return all claims read so far."""
        columns = list(zip(*self._texts, strict=True)) or [()] * len(_TEXT_FACTS)
        texts = {
            **dict(zip(_TEXT_FACTS, columns, strict=True)),
            "member": self._owners,
            "plan": self._plans,
        }
        payments = _to_numpy(self._payments, np.float64)
        is_paid = ~np.isnan(payments)
        return PublishedClaims(
            texts={name: pa.array(column, pa.string()) for name, column in texts.items()},
            payments=np.where(is_paid, cents_of(np.where(is_paid, payments, 0)), ABSENT),
            totals=self._totals.cents(len(self._texts)),
            headers=self._headers.cents(len(self._texts)),
            claims=_to_numpy(self._items, np.int64),
            numbers=_to_numpy(self._numbers, np.int64),
            dates=pa.array(self._dates, pa.string()),
            lines=self._lines.cents(len(self._items)),
            members=self._members,
            resources=self._resources,
            prior_auths=self._prior_auths,
        )


def _decompress(data: bytes) -> bytes:
    plain: bytes = igzip.decompress(data)  # type: ignore[no-untyped-call]
    return plain


def _claim_type(claim: _Claim) -> str:
    """Return a claim's type; for an institutional one, inpatient or outpatient."""
    code = claim.type.code
    return claim.sub_type.code or code if code == _INSTITUTIONAL else code


def _service_dates(item: _Item) -> str:
    """Return the day of a service, or `start/end` of its period."""
    if item.serviced_date is not None:
        return item.serviced_date
    return f"{item.serviced_period.start}/{item.serviced_period.end}"


def _identifier_value(identifiers: Iterable[_Identifier], type_code: str) -> str:
    """Return the identifier with a type code; empty if there is none."""
    for identifier in identifiers:
        for coding in identifier.type.coding:
            if coding.code == type_code:
                return identifier.value
    return ""


def _plan_of_coverage(coverage: _Coverage) -> str:
    """Return a Coverage's plan; empty if it states none."""
    return next((entry.value for entry in coverage.classes if entry.type.code == _PLAN), "")
