"""State of the check of one resource."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etl.conform.findings import Issue


class Visit:
    """The state of checking one resource: what checks write to and may look at.

    Attributes:
        root: the whole resource.
        issues: rules broken so far, their paths being put together from the inside out.
        references: literal references met, as they are written.
    """

    __slots__ = ("issues", "references", "root")

    def __init__(self, root: dict[str, Any]) -> None:
        self.root = root
        self.issues: list[Issue] = []
        self.references: list[str] = []


Check = Callable[[Any, Visit], None]
"""Checks one value and adds its issues to the visit."""

Member = Callable[[Any, dict[str, Any], Visit], None]
"""Checks one member of a JSON object: its value, the object, the visit."""

Holds = Callable[[Any, dict[str, Any]], bool]
"""Whether an invariant holds: the element it is about, and the whole resource."""
