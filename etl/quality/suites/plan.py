"""Plan suites of expectations from the rule book; the classes of their results.

A suite contains the rules that Great Expectations can check by itself (not null, regex, in set,
unique, pair of dates), column by column, as a second opinion by other code. Only the run checks
the other rules. Only `expectations` depends on the library that runs the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from etl.model.canonical_tables import TABLES, FieldType
from etl.quality.rules import kinds
from etl.quality.rules.book import Rule, RuleBook
from etl.quality.rules.kinds import RelationKind
from etl.quality.rules.parameters import split_pairs

Form = Literal["not-null", "regex", "not-regex", "in-set", "not-in-set", "unique", "pair"]


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expectation.

    Attributes:
        rule: the rule behind it.
        form: the type of expectation.
        columns: columns of the suite's frame, in the expectation's order.
        values: the set, or a single regex.
    """

    rule: Rule
    form: Form
    columns: tuple[str, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Suite:
    """The expectations of one table.

    Attributes:
        table: the table.
        expectations: in the order of the rule book.
        texts: column of the frame -> (canonical column, True for its text as the rules saw it,
            False as published).
    """

    table: str
    expectations: tuple[Expectation, ...]
    texts: Mapping[str, tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """Result of one expectation.

    Attributes:
        rule: id of the rule behind it.
        severity: the rule's.
        says: what the rule says.
        columns: of the expectation, joined by `, `.
        expectation: its name in Great Expectations, such as `expect_column_values_to_be_in_set`.
        values: how many values or rows it looked at.
        unexpected: how many of them fail.
    """

    rule: str
    severity: str
    says: str
    columns: str
    expectation: str
    values: int
    unexpected: int


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """Result of one table's suite.

    Attributes:
        table: the table.
        digest: of the checked rows and the library (`SuiteRows.digest`).
        covered: number of checked rows.
        expectations: in the order of the rule book.
    """

    table: str
    digest: str
    covered: int
    expectations: tuple[ExpectationResult, ...]

    @property
    def passed(self) -> int:
        """Number of expectations that every checked row meets."""
        return sum(not expectation.unexpected for expectation in self.expectations)


def plan_suite(book: RuleBook, table: str) -> Suite:
    """Return the suite of one table."""
    expectations: list[Expectation] = []
    texts: dict[str, tuple[str, bool]] = {}
    blanked: set[str] = set()
    rewritten = _last_rewrites(book, table)
    blanked_late = {
        column
        for rule in book.of_kinds(RelationKind)
        if rule.blanks and table in rule.tables
        for column in _rule_columns(rule, table)
    }
    for number, rule in enumerate(book.rules):
        if table not in rule.tables:
            continue
        columns = _rule_columns(rule, table)
        # A native expectation sees the column before any of its cells were blanked, and after all
        # rewrites: the rule must have seen the same.
        plain = not (rule.when or rule.unless) and all(
            column not in blanked and rewritten.get(column, -1) < number for column in columns
        )
        native = _translate(rule, table) if plain and not blanked_late.intersection(columns) else ()
        for expectation in native:
            as_seen = not isinstance(rule.kind, kinds.Required | kinds.Order | kinds.AnyFilled)
            for name in expectation.columns:
                column = name.removesuffix(_AS_READ)
                texts[name] = (column, as_seen)
        expectations.extend(native)
        if rule.blanks:
            blanked.update(columns)
    return Suite(table, tuple(expectations), texts)


_AS_READ: Final = " (as read)"


def _last_rewrites(book: RuleBook, table: str) -> dict[str, int]:
    """Return the number of the last rule that rewrites each column."""
    last: dict[str, int] = {}
    for number, rule in enumerate(book.rules):
        if table in rule.tables and isinstance(
            rule.kind, kinds.Rewrite | kinds.IcdPoint | kinds.IcdVersion
        ):
            last.update(dict.fromkeys(_rule_columns(rule, table), number))
    return last


def _rule_columns(rule: Rule, table: str) -> tuple[str, ...]:
    """Return the columns whose cells a rule may fail, if it names them."""
    match rule.kind:
        case kinds.IcdPoint() | kinds.IcdShape():
            return ("code",)
        case kinds.IcdVersion():
            return ("icd_version",)
        case kinds.Sentinel(columns=()):
            return tuple(c.name for c in TABLES[table].columns if c.type is FieldType.DATE)
        case kinds.NamesNoLine(column=column):
            return (column,)
        case _:
            columns: tuple[str, ...] = getattr(rule.kind, "columns", ())
            return columns if isinstance(columns, tuple) else ()


def _translate(rule: Rule, table: str) -> tuple[Expectation, ...]:
    """Return the expectations that are equivalent to the rule, or none."""

    def per_column(
        columns: tuple[str, ...], form: Form, values: tuple[str, ...]
    ) -> tuple[Expectation, ...]:
        return tuple(Expectation(rule, form, (column + _AS_READ,), values) for column in columns)

    match rule.kind:
        case kinds.Required():
            required = TABLES[table].required
            return tuple(Expectation(rule, "not-null", (column,)) for column in required)
        case kinds.AnyFilled(columns=(column,)):
            return (Expectation(rule, "not-null", (column,)),)
        case kinds.Forbidden(columns, pattern):
            return per_column(columns, "not-regex", (pattern,))
        case kinds.Allowed(columns, values, pattern, crosswalk="", shape="", each=False):
            if values and not pattern:
                return per_column(columns, "in-set", values)
            return per_column(columns, "regex", (pattern,)) if not values else ()
        case kinds.Sentinel(days):
            return per_column(_rule_columns(rule, table), "not-in-set", days)
        case kinds.Order(apart=0, hours=0) as order:
            return tuple(
                Expectation(rule, "pair", (later, earlier))
                for earlier, later in split_pairs(order.pairs)
                if _are_days(table, earlier, later)
            )
        case kinds.Duplicate(of="conflict"):
            key = TABLES[table].key
            return (Expectation(rule, "unique", tuple(column + _AS_READ for column in key)),)
        case _:
            return ()


def _are_days(table: str, *columns: str) -> bool:
    return all(c.type is FieldType.DATE for c in TABLES[table].columns if c.name in columns)
