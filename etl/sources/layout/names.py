"""Types of the names in a layout file, which check that the name exists; ids of findings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from etl.documents.models import LISTED, Check, Given, Location, MaybeText, Mistake, Text
from etl.errors import nearest
from etl.model.canonical_tables import TABLES
from etl.model.crosswalks import Crosswalk

UNKNOWN_FILE: Final = "unknown-file"
UNKNOWN_COLUMN: Final = "unknown-column"
UNUSED_ROW: Final = "unused-row"
RAGGED_ROW: Final = "ragged-row"
CONFLICT: Final = "dialect-conflict"
LEFT_OUT_CONFLICT: Final = "dialect-conflict-left-out"
SPLIT_FILLS: Final = "dialect-fills-split"
AMBIGUOUS_LOOKUP: Final = "dialect-ambiguous-lookup"
LOOKUP_WITHOUT_ROW: Final = "dialect-lookup-without-row"
UNREADABLE_VALUE: Final = "dialect-unreadable-value"
SENTINEL_DATE: Final = "dialect-sentinel-date"
ROUNDED_AMOUNT: Final = "dialect-rounded-amount"
UNMAPPED_WORD: Final = "dialect-unmapped-word"
UNKNOWN_STATUS: Final = "dialect-unknown-status"
WORD_WITHOUT_CODE: Final = "dialect-word-without-code"
FOREIGN_CODE_SYSTEM: Final = "dialect-foreign-code-system"
STAND_IN_VALUE: Final = "dialect-stand-in-value"
FACT_WITHOUT_ROW: Final = "dialect-fact-without-row"
SHORT_FORM_BESIDE_ROWS: Final = "short-form-beside-rows"

UNKNOWN_VALUES: Final = (CONFLICT, LEFT_OUT_CONFLICT, AMBIGUOUS_LOOKUP, UNREADABLE_VALUE)
"""Findings of cells whose value is unknown."""

NAMED_IN_LAYOUTS: Final = (UNMAPPED_WORD, UNKNOWN_STATUS, FOREIGN_CODE_SYSTEM, STAND_IN_VALUE)
"""Findings that a layout file may name for a column."""


_CONFLICTS: Final = {"reject": CONFLICT, "left-out": LEFT_OUT_CONFLICT}


class RawColumns(Protocol):
    """The part of `etl.sources.layout.model.RawTable` that checks of names use."""

    @property
    def name(self) -> str:
        """The file's name in the layout."""

    @property
    def headers(self) -> tuple[str, ...]:
        """All headers, with those of derived columns."""

    @property
    def id_headers(self) -> Mapping[str, str]:
        """Role (`member`, `claim`, `coverage`) -> header of its id."""


@dataclass
class LayoutNames:
    """The names that exist in a layout that is being read.

    Attributes:
        crosswalks: all crosswalks by name.
        used: the crosswalks that the layout names.
        raw_names: names of all raw files, including those with mistakes.
        raws: raw files without mistakes.
        table: canonical table of the entry that is being read.
        raw: raw file of that entry; None if it has mistakes.
        raw_name: name of the raw file that is being read.
    """

    crosswalks: Mapping[str, Crosswalk]
    used: dict[str, Crosswalk] = field(default_factory=dict)
    raw_names: frozenset[str] = frozenset()
    raws: Mapping[str, RawColumns] = field(default_factory=dict)
    table: str = ""
    raw: RawColumns | None = None
    raw_name: str = ""


def unknown_header(header: str, name: str, headers: Sequence[str], at: Location = ()) -> Mistake:
    """Return the mistake of a header that a raw file does not have."""
    message = f"{name} has no column {header!r}"
    return Mistake("layout-header", message, nearest(header, headers), at=at)


def _check_header(header: str, names: LayoutNames) -> str:
    raw = names.raw
    if raw is not None and header not in raw.headers:
        raise unknown_header(header, raw.name, raw.headers)
    return header


def _check_canonical_column(name: str, names: LayoutNames) -> str:
    table = TABLES[names.table]
    if table.column(name) is None:
        message = f"{table.name} has no column {name!r}"
        raise Mistake("layout-column", message, nearest(name, table.names))
    return name


def _check_raw_file(name: str, names: LayoutNames) -> str:
    if name not in names.raw_names:
        hint = nearest(name, names.raw_names)
        raise Mistake("layout-table", f"no raw file {name!r}", hint)
    return name


def _find_crosswalk(name: str, names: LayoutNames) -> Crosswalk:
    if name not in names.crosswalks:
        hint = nearest(name, names.crosswalks)
        raise Mistake("layout-crosswalk", f"no crosswalk {name!r}", hint)
    names.used[name] = names.crosswalks[name]
    return names.crosswalks[name]


def _check_finding(rule: str, _names: LayoutNames) -> str:
    if rule not in NAMED_IN_LAYOUTS:
        message = f"{{key}} must be one of {', '.join(NAMED_IN_LAYOUTS)}"
        raise Mistake("layout-rule", message, nearest(rule, NAMED_IN_LAYOUTS))
    return rule


def _parse_conflict(word: str, _names: LayoutNames) -> str:
    if word not in _CONFLICTS:
        message = f"{{key}} must be one of {', '.join(_CONFLICTS)}"
        raise Mistake("layout-value", message, nearest(word, _CONFLICTS))
    return _CONFLICTS[word]


def _check_pattern(pattern: str, _names: LayoutNames) -> str:
    try:
        re.compile(pattern)
        # Patterns are run by RE2, which supports less.
        pc.match_substring_regex(pa.array([""]), pattern)
    except re.error as error:
        raise Mistake("layout-value", f"not a regular expression: {error}") from None
    except pa.ArrowInvalid:
        message = "not a regular expression of RE2: nothing may look ahead, behind or back"
        raise Mistake("layout-value", message) from None
    return pattern


def _lower_words(words: frozenset[str], _names: LayoutNames) -> frozenset[str]:
    return frozenset(word.lower() for word in words)


Header: TypeAlias = Annotated[Text, Check(_check_header)]
"""A header of the raw file that feeds the table."""
MaybeHeader: TypeAlias = Annotated[str | None, Given(Header)]
Headers: TypeAlias = Annotated[tuple[Header, ...], LISTED]
CanonicalColumn: TypeAlias = Annotated[Text, Check(_check_canonical_column)]
CanonicalColumns: TypeAlias = Annotated[tuple[CanonicalColumn, ...], LISTED]
RawFileName: TypeAlias = Annotated[Text, Check(_check_raw_file)]
NamedCrosswalk: TypeAlias = Annotated[
    Crosswalk | None, Given(Annotated[MaybeText, Check(_find_crosswalk)])
]
FindingRule: TypeAlias = Annotated[str, Given(Annotated[Text, Check(_check_finding)])]
MaybeFindingRule: TypeAlias = Annotated[str | None, Given(FindingRule)]
ConflictRule: TypeAlias = Annotated[str, Given(Annotated[Text, Check(_parse_conflict)])]
Pattern: TypeAlias = Annotated[Text, Check(_check_pattern)]
MaybePattern: TypeAlias = Annotated[str | None, Given(Pattern)]
Words: TypeAlias = Annotated[
    frozenset[str], Given(Annotated[frozenset[Text], LISTED, Check(_lower_words)])
]
"""Words that are compared without regard to case."""
