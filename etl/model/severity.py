"""Severity of a finding: its consequence for the row that it is about."""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """Consequence of a failed rule for the row that failed it."""

    WARN = "warn"
    """The row is published; the report counts the finding."""
    REJECT_ROW = "reject-row"
    """The row and the rows that depend on it are quarantined."""
    REJECT_CLAIM = "reject-claim"
    """The row's claim is quarantined."""

    @property
    def rejects(self) -> bool:
        """Whether the row isn't published."""
        return self is not Severity.WARN
