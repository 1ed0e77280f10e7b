"""The names that an expression may use, and the library it may draw on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeAlias

from etl.mapping.plan import Fixed, Leaf
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
    """A leaf that a fragment was given; `json_text` where it is a constant that is no text."""

    node: Leaf | Fixed
    text: str | None


Binding: TypeAlias = Row | StaticRow | Parameter


@dataclass(frozen=True, slots=True)
class Library:
    """The library that every mapping of a set may draw on.

    Attributes:
        constants: `$NAME` -> text.
        tables: static tables by name.
        fragments: bodies by name, as documents.
        crosswalks: by name.
        payer: settings of the payer, `payer.<name>` in expressions.
        given: (table, column) -> what a view takes the column to hold in every row.
    """

    constants: Mapping[str, str]
    tables: Mapping[str, tuple[StaticRow, ...]]
    fragments: Mapping[str, Any]
    crosswalks: Mapping[str, Crosswalk]
    payer: Mapping[str, str]
    given: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """Names in scope at one place of a mapping.

    Attributes:
        library: what is the same everywhere.
        names: rows, static rows and parameters by name.
        loop: level of the innermost `for`; None outside of all.
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
