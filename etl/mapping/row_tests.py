"""What the run looks for in the rows of a plan: each test finds rows that break an obligation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from etl.mapping.expressions import Expr
from etl.mapping.formulas import Formula, all_of, presence
from etl.mapping.plan import Entry, Loop
from etl.mapping.static import keeps_alive


@dataclass(frozen=True, slots=True)
class At:
    """Where a node stands.

    Attributes:
        loops: lead to the row that makes it.
        guards: conditions that were passed on the way down.
        given: when it is there.
    """

    loops: tuple[Loop, ...] = ()
    guards: Formula = True
    given: Formula = True

    def inside(self, node: Entry, guard: Formula, loops: tuple[Loop, ...] = ()) -> At:
        """Return where something stands that is made under one more guard, and is there.

        What keeps all around it alive can be taken away by guards only; anything else is there
        where all around it is.
        """
        guards = all_of(self.guards, guard)
        around = guards if keeps_alive(node) else all_of(self.given, guards)
        return At((*self.loops, *loops), guards, all_of(around, presence(node)))

    def when(self, more: Formula) -> At:
        """Return this place under one more condition."""
        return replace(self, guards=all_of(self.guards, more), given=all_of(self.given, more))


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
