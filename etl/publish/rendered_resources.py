"""Rendered resources by patient, as the pipeline hands them to publishing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple, Protocol

PATIENT_TYPES: Final = ("Patient", "Coverage", "RelatedPerson", "ExplanationOfBenefit")
"""Resource types of a patient's block, in their order. Other types come after."""

DIRECTORY_TYPES: Final = ("Organization", "Practitioner", "PractitionerRole", "Location")
"""Resource types of the shared directory, in their order."""

REFERENCE: Final = re.compile(
    rb'"reference":\s*"([A-Za-z]+/[A-Za-z0-9\-.]{1,64})(?:/_history/[^"]*)?"'
)
"""A relative reference in JSON: `Type/id`."""

LISTED: Final = "_listed"
"""Search value of an Organization or Practitioner without an NPI: why others may see it. There is
none where nothing but claims name it."""

ROW: Final = "row"
"""It has a row of the directory: everybody may."""

NAMED: Final = "named"
"""A row of the directory names it, and no claim does: every member may."""

_RANKS: Final[Mapping[str, int]] = MappingProxyType(
    {name: rank for rank, name in enumerate((*PATIENT_TYPES, *DIRECTORY_TYPES))}
)


def rank(resource_type: str) -> tuple[int, str]:
    """Return where a type stands in a block."""
    return (_RANKS.get(resource_type, len(_RANKS)), resource_type)


class Resource(NamedTuple):
    """One FHIR resource, rendered but for its version and its time.

    Attributes:
        type: FHIR resource type.
        id: logical id.
        body: JSON text that follows on `"meta":{"versionId":…,"lastUpdated":…,`: it starts inside
            `meta` (`"profile":[…]}`) and ends with the brace that closes the resource.
        last_updated: FHIR instant that the source states; None where it states none.
        search: canonical JSON object, search parameter -> list of strings, never empty. A date or
            period is `start/end`, or one date or dateTime.
    """

    type: str
    id: str
    body: bytes | memoryview
    last_updated: str | None = None
    search: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class PatientResources:
    """Everything there is of one patient.

    Attributes:
        patient_id: logical id of the Patient.
        resources: the Patient, and what its block holds beside it, in any order.
    """

    patient_id: str
    resources: Sequence[Resource]


class Resources(Protocol):
    """Resources by number: a list of them, or an object that makes each on access."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Resource: ...
