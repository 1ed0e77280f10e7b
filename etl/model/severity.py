"""Severity of a finding: its consequence for the row that it is about."""

from __future__ import annotations

from enum import Enum


class Severity(Enum):
    """Consequence of a failed rule for the row that failed it."""

    WARN = "warn"
    """The row is published; the report counts the finding."""
    REJECT_ROW = "reject-row"
    """The row goes to the quarantine, together with the rows that depend on it."""
    REJECT_CLAIM = "reject-claim"
    """The whole claim of the row goes to the quarantine."""

    @property
    def rejects(self) -> bool:
        """Whether the row is kept from being published."""
        return self is not Severity.WARN
