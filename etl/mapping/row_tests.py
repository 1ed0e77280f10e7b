"""What the run looks for in the rows of a plan: each test finds rows that break an obligation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from etl.mapping.expressions import Expr
from etl.mapping.formulas import Formula
from etl.mapping.plan import Loop


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one level for which a formula is true.

    Attributes:
        loops: the loops that lead there, outermost first; none for the plan's own rows.
        broken: what must not be true of them.
    """

    loops: tuple[Loop, ...]
    broken: Formula


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that entries carry, each known by the row of its loop.

    Attributes:
        sources: loops, where an entry is there, and its number.
    """

    sources: tuple[tuple[tuple[Loop, ...], Formula, Expr | int], ...]


@dataclass(frozen=True, slots=True)
class Twice:
    """A number that two entries of one row have.

    Attributes:
        numbers: of the entries.
        loops: lead to the rows that the lists belong to.
    """

    numbers: Numbers
    loops: tuple[Loop, ...] = ()


@dataclass(frozen=True, slots=True)
class Nowhere:
    """A number that names an entry of the same resource, and no entry has it."""

    named: Numbers
    known: Numbers


@dataclass(frozen=True, slots=True)
class Shared:
    """A number that two kinds of entries of the same resource must not have in common."""

    left: Numbers
    right: Numbers


@dataclass(frozen=True, slots=True)
class Alone:
    """Rows that have to name one of some entries of the same resource, and do not.

    Attributes:
        loops: lead to the rows.
        given: which rows have to.
        named: what they name; the loops of each source begin with `loops`.
        known: the entries.
    """

    loops: tuple[Loop, ...]
    given: Formula
    named: Numbers
    known: Numbers


@dataclass(frozen=True, slots=True)
class Points:
    """Rows with a reference that leads to no resource of the run.

    Attributes:
        loops: lead to the rows.
        given: where the reference is there.
        reference: its text.
    """

    loops: tuple[Loop, ...]
    given: Formula
    reference: Expr


Test: TypeAlias = Rows | Twice | Nowhere | Shared | Alone | Points
