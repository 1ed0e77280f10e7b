"""Rejected rows of one table, each with the rule that rejected it and the one that began it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

NO_RULE: Final = -1


@dataclass(slots=True)
class Rejections:
    """Rejected rows of one table, with their causes.

    Attributes:
        rule: numpy `int32`, shape (n,): number of the first rule that rejects the row.
        cause: numpy `int32`, shape (n,): number of the rule that began it; the same rule unless
            the row only depends on a rejected one.
    """

    rule: Any
    cause: Any

    @property
    def rows(self) -> Any:
        """Numpy `bool`, shape (n,)."""
        return self.rule != NO_RULE

    def add(self, rule: int, where: Any, cause: Any = None) -> Any:
        """Reject rows that are not rejected yet; return which those are."""
        new = where & (self.rule == NO_RULE)
        self.rule[new] = rule
        self.cause[new] = rule if cause is None else np.broadcast_to(cause, new.shape)[new]
        return new
