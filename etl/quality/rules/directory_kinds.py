"""The kinds of check of provider directories alone, and the parameters that each takes.

Kinds of every data model are in `etl.quality.rules.kinds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from etl.documents.models import Flag, Mistake, RawText, Whole
from etl.model.canonical_tables import TABLES
from etl.quality.rules import parameters as p
from etl.quality.rules.kinds import RelationKind, RowKind, RuleKind


class NotActive(RowKind):
    """The row is not in force: it is counted as withdrawn, and not published.

    Attributes:
        flag: a column with N then.
        status: a column with a word that is not among `in-force` then; empty is in force.
        in_force: the words of `status`.
        until: a date that is before the day of the extract then.
    """

    flag: p.ColumnName = ""
    status: p.ColumnName = ""
    in_force: p.RawTexts = ()
    until: p.DateName = ""


class PastMidnight(RowKind):
    """A time of day is before the one that it should follow.

    Attributes:
        opens: column with the earlier time, as HH:MM.
        closes: column with the later one.
    """

    opens: p.ColumnName
    closes: p.ColumnName


class NamesNobody(RuleKind):
    """A column names a row that is not there, or is not published.

    With a severity that rejects, the row goes with what it refers to. Otherwise the reference is
    left out, of a list that one alone.

    Attributes:
        columns: one key each, or a list of them.
        of: the table that the keys belong to.
        along: columns that hold for what is named alone, and are left out with it.
        within: columns of both tables that the key begins with, where it has several; of lists
            there are none.
    """

    columns: p.Columns
    of: p.Child
    along: p.Columns = ()
    within: p.Columns = ()


class WithdrawnName(RuleKind):
    """A list holds a name of which a row of another table, now withdrawn, says more.

    The name is left out of the list.

    Attributes:
        column: the list.
        by: that table: its key is the key of the row, then the name.
    """

    column: p.ColumnName
    by: p.Child


class Circle(RuleKind):
    """A chain of names leads back to where it began; its last link is left out.

    Attributes:
        column: that names another row of the table.
    """

    column: p.ColumnName


class HangsOnWithdrawn(RuleKind):
    """A row that the row belongs to is not in force: the row is withdrawn with it."""

    only: ClassVar = ("directory_organization",)

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield nothing: it is for every table of a directory."""
        del context
        return iter(())


class Unnamed(RelationKind):
    """No row of another table names this one.

    Attributes:
        named_in: that table and its column (`table.column`): one name or a list of them.
    """

    named_in: RawText

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield that there is no such column."""
        yield from super().mistakes(context)
        yield from _unknown_places([self.named_in], "named-in")


class NoPlace(RelationKind):
    """None of the columns is filled, and the row is no area that others name.

    Attributes:
        columns: cells with its location.
        areas: lists of other tables (`table.column`) that name areas.
    """

    columns: p.Columns
    areas: p.RawTexts = ()

    def mistakes(self, context: p.RuleNames) -> Iterator[Mistake]:
        """Yield columns that there are not."""
        yield from super().mistakes(context)
        yield from _unknown_places(self.areas, "areas")


class SharedValue(RelationKind):
    """Another row has the same value.

    Attributes:
        column: the value.
        or_key: a key of another row counts as well.
    """

    column: p.ColumnName
    or_key: Flag = False


class Stale(RelationKind):
    """The row was last updated longer ago than so many days before the day of the extract."""

    days: Whole


class Elsewhere(RelationKind):
    """A ZIP code or a position lies outside the state that the row names.

    Attributes:
        crosswalk: state -> `zips` (first digits, `010-027 055`), `south`, `north`, `west`, `east`.
        columns: `postal_code`, or `latitude` and `longitude`.
    """

    crosswalk: p.CrosswalkName
    columns: p.Columns
    reads: ClassVar = ("state",)


def _unknown_places(names: Iterable[str], key: str) -> Iterator[Mistake]:
    """Yield names that are no `table.column`."""
    for name in names:
        table, _, column = name.partition(".")
        if table not in TABLES or TABLES[table].column(column) is None:
            yield Mistake("rule-column", f"no column {name!r}", at=(key,))
