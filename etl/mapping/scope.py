"""The names and definitions that an expression of a mapping may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from etl.mapping.plan import JsonConstant, Leaf
from etl.model.crosswalks import Crosswalk


@dataclass(frozen=True, slots=True)
class Row:
    """A row in scope: its level, and the table that it is a row of."""

    level: int
    table: str


@dataclass(frozen=True, slots=True)
class StaticRow:
    """A row of a static table: constants by name; None for absent."""

    cells: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A leaf that is passed to a fragment; `text` is its value if it is a constant text."""

    node: Leaf | JsonConstant
    text: str | None


Binding: TypeAlias = Row | StaticRow | Parameter


@dataclass(frozen=True, slots=True)
class Library:
    """The definitions that all mappings of a set share.

    Attributes:
        constants: `$NAME` -> text.
        tables: static tables by name.
        fragments: bodies by name, as documents.
        crosswalks: by name.
        payer: settings of the payer, `payer.<name>` in expressions.
        column_constants: (table, column) -> value that a view gives the column in every row.
    """

    constants: Mapping[str, str]
    tables: Mapping[str, tuple[StaticRow, ...]]
    fragments: Mapping[str, Any]
    crosswalks: Mapping[str, Crosswalk]
    payer: Mapping[str, str]
    column_constants: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """Names in scope at one place of a mapping.

    Attributes:
        library: definitions that are the same in all scopes.
        names: rows, static rows and parameters by name.
        loop: level of the innermost `for`; None outside of loops.
        including: fragments that are being included, outermost first (a fragment may not include
            itself).
    """

    library: Library
    names: Mapping[str, Binding]
    loop: int | None = None
    including: tuple[str, ...] = ()

    def bind(self, name: str, binding: Binding) -> Scope:
        """Add a name to the scope."""
        return replace(self, names=MappingProxyType({**self.names, name: binding}))

    def enter_loop(self, name: str, row: Row) -> Scope:
        """Return the scope inside a `for`."""
        return replace(self.bind(name, row), loop=row.level)

    def enter_fragment(self, fragment: str) -> Scope:
        """Return the scope inside a fragment."""
        return replace(self, including=(*self.including, fragment))
