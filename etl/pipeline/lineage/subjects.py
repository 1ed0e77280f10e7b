"""Subjects of questions about lineage: a resource, a claim, a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from etl.reports.lineage import CLAIM_SUBJECT


@dataclass(frozen=True, slots=True)
class ResourceSubject:
    """A resource, by FHIR type and logical id."""

    resource_type: str
    logical_id: str

    def __str__(self) -> str:
        return f"{self.resource_type}/{self.logical_id}"


@dataclass(frozen=True, slots=True)
class ClaimSubject:
    """A claim, by the payer's number of it."""

    number: str

    def __str__(self) -> str:
        return f"{CLAIM_SUBJECT}{self.number}"


@dataclass(frozen=True, slots=True)
class RowSubject:
    """A row of a file of the extract; the header is row 1."""

    file: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}:{self.row}"


Subject: TypeAlias = ResourceSubject | ClaimSubject | RowSubject
