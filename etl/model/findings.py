"""Findings: what is wrong with a row, as data to be counted, published and acted on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """What a failed rule does to the row that failed it."""

    WARN = "warn"
    """The row is published; the report counts the finding."""
    REJECT_ROW = "reject-row"
    """The row goes to the quarantine, and what hangs on it with it."""
    REJECT_CLAIM = "reject-claim"
    """The whole claim of the row goes to the quarantine."""

    @property
    def rejects(self) -> bool:
        """Whether the row is kept from being published."""
        return self is not Severity.WARN


@dataclass(frozen=True, slots=True)
class Finding:
    """One cell, row or file that failed a rule. Holds places, never values.

    Attributes:
        rule: id of the rule, as in `mappings/rules/`.
        severity: after the payer's configuration.
        table: canonical table.
        file: name of the source file inside the extract.
        row: number of the row in that file, the header being row 1; None for a whole file.
        column: canonical column; None where the row as a whole failed.
    """

    rule: str
    severity: Severity
    table: str
    file: str
    row: int | None
    column: str | None
