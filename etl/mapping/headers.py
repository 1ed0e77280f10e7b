"""Headers of mapping files: what a set, a mapping and a view say beside the bodies of mappings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from etl.documents.models import (
    LISTED,
    Check,
    ErrorIds,
    MaybeText,
    Mistake,
    Model,
    RawText,
    Text,
    Whole,
)
from etl.errors import nearest
from etl.mapping.row_columns import columns_of
from etl.model.canonical_tables import TABLES
from etl.profiles.structures import is_type

HEADER_IDS: Final = ErrorIds(key="map-unknown-key", missing="map-missing-key", value="map-shape")


def _check_table(name: str, _context: Any) -> str:
    if name not in TABLES:
        raise Mistake("map-unknown-table", f"no table {name!r}", nearest(name, TABLES))
    return name


def _check_column(name: str, context: Any) -> str:
    table, _, column = name.partition(".")
    columns = columns_of(_check_table(table, context))
    if column not in columns:
        hint = nearest(column, columns)
        raise Mistake("map-unknown-column", f"{table} has no {column!r}", hint)
    return name


def _check_element(name: str, _context: Any) -> str:
    if not is_type(name.partition(".")[0]):
        problem = f"{name!r} is no type of FHIR, and no element of one of its resources"
        raise Mistake("map-view", problem)
    return name


@dataclass(frozen=True, slots=True)
class Skip(Model):
    """MapIDs, or elements that a profile marks, that are left out, and why."""

    reason: Text
    map_id: Annotated[tuple[Whole, ...], LISTED] = ()
    element: Annotated[tuple[RawText, ...], LISTED] = ()

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield that neither is named, or both are."""
        del context
        if bool(self.map_id) == bool(self.element):
            problem = "skip lists { map_id: …, reason: … } and { element: …, reason: … }"
            yield Mistake("map-shape", problem, is_absence=True)


def profile_canonical(profile: str, pattern: str) -> str:
    """Return a profile's canonical; a bare name is put into the pattern in place of `{}`."""
    return profile if "/" in profile else pattern.replace("{}", profile, 1)


def skip_reasons(entries: Iterable[Skip]) -> tuple[Mapping[int, str], Mapping[str, str]]:
    """Return the reasons by MapID, and those by element."""
    numbers = {number: entry.reason for entry in entries for number in entry.map_id}
    elements = {name: entry.reason for entry in entries for name in entry.element}
    return MappingProxyType(numbers), MappingProxyType(elements)


@dataclass(frozen=True, slots=True)
class MappingHeader(Model):
    """A mapping file. Expressions and bodies are read by the compiler."""

    resource: Text
    profile: Text
    table: Annotated[Text, Check(_check_table)] = field(metadata={"alias": "from"})
    emit: Any = None
    when: Any = None
    compartment: MaybeText = None
    last_updated: MaybeText = None
    search: dict[str, list[Any]] = field(default_factory=dict)
    skip: tuple[Skip, ...] = ()
    assured: dict[str, RawText] = field(default_factory=dict)
    extends: Any = None


@dataclass(frozen=True, slots=True)
class ViewFile(Model):
    """A file that describes a view of a set."""

    name: Text = field(metadata={"alias": "view"})
    version: Text = ""
    profiles: dict[str, RawText] = field(default_factory=dict)
    without: tuple[Annotated[RawText, Check(_check_element)], ...] = ()
    given: dict[Annotated[str, Check(_check_column)], RawText] = field(default_factory=dict)
    skip: tuple[Skip, ...] = ()
    extends: Any = None


@dataclass(frozen=True, slots=True)
class SetFile(Model):
    """The file of a set."""

    name: Text = field(metadata={"alias": "set"})
    version: Text
    canonical: Text
    mappings: tuple[RawText, ...]
    fragments: tuple[RawText, ...] = ()
    views: tuple[RawText, ...] = ()
    constants: dict[str, RawText] = field(default_factory=dict)
    tables: dict[str, tuple[dict[str, Any], ...]] = field(default_factory=dict)
