"""Kinds of check, in common: name, tables, columns that are read, mistakes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, TypeAlias, dataclass_transform

from pydantic import ConfigDict

from etl.documents.models import Mistake, Model
from etl.quality.rules.parameters import RuleNames, hyphened, unknown_columns


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition on one column of the row, or of the claim or coverage it belongs to.

    Attributes:
        above: `claim` or `coverage`: the column is one of the row's claim or coverage; else "".
        column: the column.
        words: the column holds one of these, in lower case, `""` standing for an
            empty cell; no words where only `filled` counts.
        filled: the column is filled (or, where false and `words` is empty, is empty).
    """

    above: str
    column: str
    words: frozenset[str]
    filled: bool


Condition: TypeAlias = tuple[Clause, ...]
"""Holds where every clause holds; the empty one always holds."""


@dataclass_transform(frozen_default=True)
@dataclass(frozen=True)
class RuleKind(Model):
    """Kind of a rule: the check behind it. Subclasses become frozen dataclasses.

    Attributes:
        check: its name in rule files: the class's name with hyphens where it gives no other.
        reads: columns that its tables must have, beside those that a rule names.
        only: the tables that it is for; empty: any.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", alias_generator=hyphened)
    check: ClassVar[str]
    reads: ClassVar[tuple[str, ...]] = ()
    only: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, check: str | None = None) -> None:
        """Register the kind under its name; classes with "" are groups of kinds."""
        dataclass(frozen=True)(cls)
        cls.check = (
            re.sub(r"(?<=.)(?=[A-Z])", "-", cls.__name__).lower() if check is None else check
        )
        if cls.check:
            KINDS[cls.check] = cls

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return its parameters and the fields of every rule."""
        return (*map(hyphened, super().known_keys()), *RULE_KEYS)

    def mistakes(self, context: RuleNames) -> Iterator[Mistake]:
        """Yield that the rule's tables are none that it is for."""
        for table in context.tables:
            if self.only and table not in self.only:
                what = f"this check is for table {self.only[0]!r}, not for {table!r}"
                yield Mistake("rule-column", what, at=("table",))
        for name in self.reads:
            yield from unknown_columns(name, context.tables, below=("table",))


KINDS: Final[dict[str, type[RuleKind]]] = {}
"""Every kind by its name in rule files."""
RULE_KEYS: Final = (
    *("id", "table", "check", "severity", "says", "spoils"),
    *("when", "unless", "blanks", "firm"),
)
"""Fields of every rule, beside the parameters of its kind."""


class CellKind(RuleKind, check=""):
    """A kind that checks one cell; the first to run."""


class RowKind(RuleKind, check=""):
    """A kind that checks one row; it sees the cells that earlier checks left."""


class RelationKind(RuleKind, check=""):
    """A kind that checks rows together; it sees the rows that earlier checks left."""
