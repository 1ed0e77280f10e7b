"""Prior authorizations in the published bytes: PDex's ExplanationOfBenefit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec

Fact: TypeAlias = str | Decimal
"""A text, an amount, or a number of units."""

NO_ACTION: Final = "none"
"""The action of entries that state none."""
_REVIEW_ACTION: Final = "extension-reviewAction"
_ACTION_CODE: Final = "extension-reviewActionCode"
_RECEIVED: Final = "clmrecvddate"
_UNITS: Final = {"allowedunits": "approved", "consumedunits": "used"}


class _Coding(msgspec.Struct, frozen=True):
    code: str = ""


class _Concept(msgspec.Struct, frozen=True):
    coding: tuple[_Coding, ...] = ()

    @property
    def code(self) -> str:
        return self.coding[0].code if self.coding else ""


class _Identifier(msgspec.Struct, frozen=True):
    value: str = ""


class _Reference(msgspec.Struct, frozen=True):
    reference: str = ""


class _Period(msgspec.Struct, frozen=True):
    start: str = ""
    end: str = ""


class _Quantity(msgspec.Struct, frozen=True):
    value: Decimal | None = None


class _Extension(msgspec.Struct, frozen=True, rename="camel"):
    url: str = ""
    extension: tuple[_Extension, ...] = ()
    value_codeable_concept: _Concept = _Concept()


class _Entry(msgspec.Struct, frozen=True):
    """An entry of `total`, `adjudication` or `item.adjudication`."""

    extension: tuple[_Extension, ...] = ()
    category: _Concept = _Concept()
    amount: _Quantity = _Quantity()
    value: Decimal | None = None


class _Item(msgspec.Struct, frozen=True, rename="camel"):
    sequence: int
    quantity: _Quantity = _Quantity()
    serviced_date: str = ""
    serviced_period: _Period | None = None
    adjudication: tuple[_Entry, ...] = ()


class _Information(msgspec.Struct, frozen=True, rename="camel"):
    category: _Concept = _Concept()
    timing_date: str = ""


class _Insurance(msgspec.Struct, frozen=True):
    coverage: _Reference = _Reference()


class _PriorAuth(msgspec.Struct, frozen=True, rename="camel"):
    identifier: tuple[_Identifier, ...] = (_Identifier(),)
    patient: _Reference = _Reference()
    type: _Concept = _Concept()
    insurer: _Reference = _Reference()
    insurance: tuple[_Insurance, ...] = (_Insurance(),)
    pre_auth_ref_period: tuple[_Period, ...] = (_Period(),)
    supporting_info: tuple[_Information, ...] = ()
    total: tuple[_Entry, ...] = ()
    adjudication: tuple[_Entry, ...] = ()
    item: tuple[_Item, ...] = ()


_DECODER: Final = msgspec.json.Decoder(_PriorAuth)


@dataclass(frozen=True, slots=True)
class PublishedPriorAuth:
    """A prior authorization of a block.

    Attributes:
        number: the payer's number.
        patient: reference to the Patient.
        insurer, coverage: references to the Organization and the Coverage.
        facts: name -> fact; names are those of `prior_auth_comparison.FACTS`.
        lines: `item.sequence` and facts of each item.
    """

    number: str
    patient: str
    insurer: str
    coverage: str
    facts: Mapping[str, Fact]
    lines: tuple[tuple[int, Mapping[str, Fact]], ...]


def read_prior_auth(line: bytes | memoryview) -> PublishedPriorAuth:
    """Read the facts of a prior authorization from a line of NDJSON."""
    resource = _DECODER.decode(line)
    period = resource.pre_auth_ref_period[0]
    received = (
        info.timing_date for info in resource.supporting_info if info.category.code == _RECEIVED
    )
    facts: dict[str, Fact | None] = {
        "type": resource.type.code.lower(),
        "received": next(received, None),
        "start": period.start,
        "end": period.end,
        "action": _find_action(resource.adjudication),
        **{entry.category.code: entry.amount.value for entry in resource.total},
    }
    return PublishedPriorAuth(
        resource.identifier[0].value,
        resource.patient.reference,
        resource.insurer.reference,
        resource.insurance[0].coverage.reference,
        drop_absent(facts),
        tuple((item.sequence, _line_facts(item)) for item in resource.item),
    )


def _line_facts(item: _Item) -> Mapping[str, Fact]:
    period = item.serviced_period
    facts: dict[str, Fact | None] = {
        "served": f"{period.start}/{period.end}" if period else item.serviced_date,
        "requested": item.quantity.value,
        "action": _find_action(item.adjudication),
    }
    for entry in item.adjudication:
        code = entry.category.code
        facts[_UNITS.get(code, code)] = entry.value if code in _UNITS else entry.amount.value
    return drop_absent(facts)


def _find_action(entries: Iterable[_Entry]) -> str | None:
    """Return the review action (X12 306) of some entries; None if there is no entry."""
    entries = tuple(entries)
    for entry in entries:
        for review in entry.extension:
            if review.url.endswith(_REVIEW_ACTION):
                for part in review.extension:
                    if part.url.endswith(_ACTION_CODE):
                        return part.value_codeable_concept.code
    return NO_ACTION if entries else None


def drop_absent(facts: Mapping[str, Fact | None]) -> Mapping[str, Fact]:
    """Drop absent and empty facts."""
    return {name: fact for name, fact in facts.items() if fact is not None and fact != ""}
