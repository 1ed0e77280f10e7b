"""Rules as quality checks of a data contract, where SQL or ODCS can express them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Final, TypeAlias

from etl.quality.rules.book import Rule
from etl.quality.rules.kind import CellKind, Clause, Condition, RuleKind
from etl.quality.rules.kinds import (
    Allowed,
    AnyFilled,
    AtLeast,
    Childless,
    Duplicate,
    Equation,
    Misplaced,
    NotBefore,
    Order,
    Orphan,
    Outside,
    Together,
    Unexpected,
)
from etl.quality.rules.parameters import PARENT_KEYS

Entry: TypeAlias = dict[str, Any]
_NULL: Final = "IS NULL"


@dataclass(frozen=True, slots=True)
class RunnableCheck:
    """One check of a table of a contract.

    Attributes:
        column: the column that it is about, as the contract calls it; "" for the table.
        body: its `type` and what belongs to that.
    """

    column: str
    body: Entry


@dataclass(frozen=True, slots=True)
class ContractTable:
    """A table of a contract, as rules are applied to it.

    Attributes:
        table: the canonical table.
        key: columns of its key.
        names: canonical column -> name in the contract; others cannot be checked.
        alone: nothing is known of other tables.
        merged: several rows become one, so that only cells can be checked.
    """

    table: str
    key: tuple[str, ...]
    names: Mapping[str, str]
    alone: bool = False
    merged: bool = False

    def sql(self, column: str) -> str:
        """Return a column as SQL names it.

        Raises:
            KeyError: the contract has no such column.
        """
        name = self.names[column]
        return name if name.isidentifier() and name.islower() else _quoted(name, '"')


def checks(rule: Rule, subject: ContractTable) -> tuple[RunnableCheck, ...]:
    """Return a rule as checks that a program can run; empty where it can only be described.

    SQL is what all engines share: comparisons, `IN`, `CASE`, `COALESCE`, `NOT EXISTS`.
    """
    if subject.merged and not isinstance(rule.kind, CellKind):
        return ()
    try:
        where = _rows(rule, subject)
        return tuple(_checks(rule.kind, rule, subject, where)) if where is not None else ()
    except KeyError:
        return ()


def _rows(rule: Rule, subject: ContractTable) -> tuple[str, ...] | None:
    """Return which rows a rule is for, as conditions; None where SQL of one table cannot tell."""
    if any(clause.above for clause in (*rule.when, *rule.unless)):
        return None
    conditions = [_holds(clause, subject) for clause in rule.when]
    if rule.unless:
        conditions.append(f"NOT ({_all(rule.unless, subject)})")
    return tuple(conditions)


def _all(condition: Condition, subject: ContractTable) -> str:
    return " AND ".join(_holds(clause, subject) for clause in condition)


def _holds(clause: Clause, subject: ContractTable) -> str:
    column = subject.sql(clause.column)
    if clause.words:
        words = ", ".join(_quoted(word, "'") for word in sorted(clause.words))
        return f"LOWER(COALESCE(CAST({column} AS VARCHAR), '')) IN ({words})"
    return f"{column} IS NOT NULL" if clause.filled else f"{column} {_NULL}"


def _sql(column: str, where: Sequence[str], *fails: str) -> RunnableCheck:
    failing = " AND ".join((*where, *fails))
    query = f"SELECT COUNT(*) FROM ${{table}} WHERE {failing}"  # noqa: S608 # from rule files
    return RunnableCheck(column, {"type": "sql", "query": query, "mustBe": 0})


def _quoted(text: str, mark: str) -> str:
    return f"{mark}{text.replace(mark, mark * 2)}{mark}"


@singledispatch
def _checks(
    kind: RuleKind, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    """Yield the checks of a kind; none where it has none."""
    del kind, rule, subject, where
    return iter(())


@_checks.register
def _(
    kind: Allowed, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if kind.each:
        return
    for column in kind.columns:
        name = subject.sql(column)
        words = sorted(rule.known_words | {word.lower() for word in kind.values})
        if words and not kind.pattern:
            said = ", ".join(_quoted(word, "'") for word in words)
            yield _sql(subject.names[column], where, f"LOWER({name}) NOT IN ({said})")
        elif kind.pattern and not words and not where:
            body = {"metric": "invalidValues", "arguments": {"pattern": kind.pattern}, "mustBe": 0}
            yield RunnableCheck(subject.names[column], {"type": "library", **body})


@_checks.register
def _(
    kind: AtLeast, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    for column in kind.columns:
        yield _sql(subject.names[column], where, f"{subject.sql(column)} < {kind.least}")


@_checks.register
def _(
    kind: NotBefore, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    for column in kind.columns:
        yield _sql(subject.names[column], where, f"{subject.sql(column)} < DATE '{kind.day}'")


@_checks.register
def _(
    kind: Order, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    for earlier, later in () if kind.apart else kind.columns():  # engines count days differently
        yield _sql("", where, f"{subject.sql(earlier)} > {subject.sql(later)}")


@_checks.register
def _(
    kind: Equation, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    plus = " + ".join(f"COALESCE({subject.sql(column)}, 0)" for column in kind.plus)
    minus = "".join(f" - COALESCE({subject.sql(column)}, 0)" for column in kind.minus)
    there = tuple(f"{subject.sql(column)} IS NOT NULL" for column in kind.needs)
    # Engines may read amounts as binary floating point, so less than half a cent is none.
    total = subject.sql(kind.total)
    difference = f"ABS({total} - ({plus}{minus}))"
    if kind.at_most:
        difference = f"ABS({total}) - ABS({plus}{minus})"
    yield _sql("", (*where, *there), f"{difference} >= 0.005")


@_checks.register
def _(
    kind: AnyFilled, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    yield _sql("", where, *(f"{subject.sql(column)} {_NULL}" for column in kind.columns))


@_checks.register
def _(
    kind: Together, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    filled = (
        f"CASE WHEN {subject.sql(column)} {_NULL} THEN 0 ELSE 1 END" for column in kind.columns
    )
    yield _sql("", where, f"{' + '.join(filled)} > 1")


@_checks.register
def _(
    kind: Unexpected, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    filled = " OR ".join(f"{subject.sql(column)} IS NOT NULL" for column in kind.columns)
    yield _sql("", where, f"({filled})")


@_checks.register
def _(
    kind: Misplaced, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if where:
        yield _sql("", where)


@_checks.register
def _(
    kind: Duplicate, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if kind.of == "conflict" and not subject.alone:
        arguments = {"properties": [subject.names[column] for column in subject.key]}
        body = {"metric": "duplicateValues", "arguments": arguments, "mustBe": 0}
        yield RunnableCheck("", {"type": "library", **body})


@_checks.register
def _(
    kind: Orphan, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if not subject.alone:
        yield _sql(
            subject.names[kind.by],
            where,
            f"{kind.by} IS NOT NULL",
            _lacks(kind.parent, kind.parent),
        )


@_checks.register
def _(
    kind: Childless, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if not subject.alone and subject.table in PARENT_KEYS:
        yield _sql("", where, _lacks(kind.child, subject.table, kind.filled))


@_checks.register
def _(
    kind: Outside, rule: Rule, subject: ContractTable, where: tuple[str, ...]
) -> Iterator[RunnableCheck]:
    if not subject.alone and len(kind.above) == 1:
        column, (parent,) = f"${{table}}.{kind.column}", kind.above
        sides = [f"{column} < other.{kind.start}"] * bool(kind.start)
        sides += [f"{column} > other.{kind.end}"] * bool(kind.end)
        outside = _exists(parent, parent, f"({' OR '.join(sides)})")
        yield _sql(subject.names[kind.column], where, outside)


def _lacks(other: str, parent: str, filled: str = "") -> str:
    """Return that no row of another table has the parent's key of a row, and the column filled."""
    return f"NOT {_exists(other, parent, *([f'other.{filled} IS NOT NULL'] if filled else []))}"


def _exists(other: str, parent: str, *conditions: str) -> str:
    """Return that a row of another table has the parent's key of a row, and fulfils conditions."""
    same = [f"other.{column} = ${{table}}.{column}" for column in PARENT_KEYS[parent]]
    matching = " AND ".join((*same, *conditions))
    return f"EXISTS (SELECT 1 FROM {other} AS other WHERE {matching})"  # noqa: S608 # table names
