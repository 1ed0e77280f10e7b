"""Elements of the canonical layout that columns may be, and the kinds of files with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from etl.doctor.names import Header, Vocabulary
from etl.doctor.shapes import SHAPES
from etl.documents.models import ErrorIds, MaybeText, Mistake, Model, Text, Texts, read_as
from etl.documents.yaml_text import read_yaml
from etl.model.canonical_tables import (
    AMOUNT_CATEGORIES,
    AMOUNT_COLUMNS,
    EVERY_TABLE,
    FieldType,
)
from etl.model.canonical_tables import (
    CLAIMS_TABLES as TABLES,
)
from etl.model.crosswalks import Crosswalk
from etl.sources.layout.model import ConstantText, FromColumn, Layout

_IDS: Final = ErrorIds(key="layout-key", missing="layout-key", value="layout-value")
_KEY: Final = re.compile(r"(\w+)\.(\w+#?)(?:\[(\w+)\])?")
_SHAPES: Final = {
    FieldType.DATE: "date",
    FieldType.TIMESTAMP: "date",
    FieldType.MONEY: "money",
    FieldType.DECIMAL: "number",
    FieldType.INTEGER: "number",
    FieldType.FLAG: "flag",
}
_REPEATED: Final = ("claim_diagnosis", "claim_procedure")
_OF_REPEATED: Final = ("", "externalcauseofinjury", "patientreasonforvisit")
"""Types of which a claim may have several diagnoses; "" if the type isn't stated."""
_OF_LINES: Final = ("drugcost",)
"""Amounts that belong to a line unless the header states otherwise."""
_OF_A_CLAIM: Final = ("claim", "claim total", "total", "header")
_OF_A_LINE: Final = ("line", "revenue center")
NOTHING: Final = "-"
"""Table of well-known headers that no column carries."""


@dataclass(frozen=True, slots=True)
class KnownElement:
    """A column of the canonical layout, or a well-known header that no column carries.

    Attributes:
        table: canonical table; `-` if no column carries it.
        column: column of the table; `modifier_#` for the numbered ones.
        qualifier: role, use or type of the row, if the table has one row for each; else "".
        names: its names, each as words.
        shape: shape of its values; "" for any.
        codes: its possible values, lower case; empty if they are not listed.
        amount: its column if it is an amount; else "".
        reason: why no column carries it; else "".
        map_ids: MapIDs of the CPCDS Data Dictionary.
    """

    table: str
    column: str
    qualifier: str
    names: tuple[tuple[str, ...], ...]
    shape: str = ""
    codes: frozenset[str] = frozenset()
    amount: str = ""
    reason: str = ""
    map_ids: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Its name in reports, such as `claim_care_team.provider_id[attending]`."""
        qualified = f"[{self.qualifier}]" if self.qualifier else ""
        return f"{self.table}.{self.column}{qualified}"

    @property
    def is_repeated(self) -> bool:
        """Whether it may be in numbered columns."""
        return (
            self.column.endswith("#")
            or (self.table in _REPEATED and self.qualifier in _OF_REPEATED)
            or self.table == NOTHING
        )

    @property
    def is_required(self) -> bool:
        """Whether a row cannot be published without it."""
        return self.table in TABLES and self.column in TABLES[self.table].required


@dataclass(frozen=True)
class Elements:
    """All elements, and the words in their names.

    Attributes:
        every: the elements.
        vocabulary: parses headers.
        tables: canonical table -> names of files with its rows.
        written: every name, as written.
        uses: use of an address -> the words for it.
        value_kinds: words for the kind of value in a column, such as `code`.
        likeness: header -> its similarity to each element; filled as headers are compared.
    """

    every: tuple[KnownElement, ...]
    vocabulary: Vocabulary
    tables: Mapping[str, tuple[str, ...]]
    written: frozenset[str]
    uses: Mapping[str, frozenset[str]]
    value_kinds: frozenset[str]
    likeness: dict[Header, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def words(self) -> frozenset[str]:
        """All words and abbreviations that headers may contain."""
        return frozenset(self.vocabulary.weights) | self.vocabulary.abbreviations.keys()


@dataclass(frozen=True, slots=True)
class ElementEntry(Model):
    """An entry of the file of elements."""

    names: Texts = ()
    shape: MaybeText = None
    codes: MaybeText = None

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield the mistake of an unknown shape."""
        del context
        if self.shape is not None and self.shape not in SHAPES:
            yield Mistake("layout-value", f"there is no shape {self.shape!r}", at=("shape",))


@dataclass(frozen=True, slots=True)
class IgnoredHeaders(Model):
    """Names of headers that no element carries, and why."""

    names: Texts
    reason: Text


@dataclass(frozen=True, slots=True)
class ElementsFile(Model):
    """The file of elements, `mappings/doctor/elements.yaml`."""

    abbreviations: dict[str, Text]
    ignored: Texts
    value_kinds: Texts
    uses: dict[str, Texts]
    tables: dict[str, Texts]
    elements: dict[str, ElementEntry]
    amounts: dict[str, Texts]
    left_out: dict[str, IgnoredHeaders]

    def mistakes(self, context: Any) -> Iterator[Mistake]:
        """Yield elements that are not columns of the canonical layout."""
        del context
        for key in self.elements:
            parts = _KEY.fullmatch(key)
            table = TABLES.get(parts[1]) if parts else None
            if parts is None or table is None or table.column(parts[2].replace("#", "1")) is None:
                message = f"{key} is no column of the canonical layout"
                yield Mistake("layout-column", message, at=("elements", key))
        for category in self.amounts:
            if category not in AMOUNT_CATEGORIES:
                message = f"there is no amount {category!r}"
                yield Mistake("layout-column", message, at=("amounts", category))


def read_elements(
    text: str,
    file: str,
    crosswalks: Mapping[str, Crosswalk],
    layouts: Iterable[Layout] = (),
    *,
    without: Iterable[str] = (),
) -> Elements:
    """Return the elements, with the names that a YAML text and known layouts give them.

    Args:
        text: the YAML, `mappings/doctor/elements.yaml`.
        file: name of the file in messages.
        crosswalks: their words are possible values.
        layouts: known layouts; their headers are names, too.
        without: names to ignore, as written, when the doctor is measured.

    Raises:
        MappingError: `layout-key`, `layout-value`, `layout-column`, or one of `read_yaml`.
    """
    body = read_as(ElementsFile, read_yaml(text, file), file, _IDS)
    bare = Vocabulary(body.abbreviations, frozenset(body.ignored), ())
    names: dict[str, list[str]] = {
        key: list(element.names) for key, element in body.elements.items()
    }
    _add_amounts(names, body)
    composed = _add_addresses(names, body, bare)
    for layout in layouts:
        for key, header in _layout_headers(layout):
            names.setdefault(key, []).append(header)
    dropped = {bare.name_words(name) for name in without} - composed
    every = (
        *_carried_elements(names, body, crosswalks, bare, dropped),
        *_ignored_elements(body.left_out, bare, dropped),
    )
    spelled = tuple(tuple(" ".join(name) for name in element.names) for element in every)
    written = frozenset(
        name
        for given in (*names.values(), *(element.names for element in body.left_out.values()))
        for name in given
        if bare.name_words(name) not in dropped
    )
    vocabulary = Vocabulary(body.abbreviations, frozenset(body.ignored), spelled)
    uses = MappingProxyType({use: frozenset(words) for use, words in body.uses.items()})
    tables, value_kinds = MappingProxyType(dict(body.tables)), frozenset(body.value_kinds)
    return Elements(every, vocabulary, tables, written, uses, value_kinds)


def _add_amounts(names: dict[str, list[str]], body: ElementsFile) -> None:
    """Add names of the amounts of claims and of lines, with and without their level."""
    for category in AMOUNT_CATEGORIES:
        spellings = [*body.amounts.get(category, ()), f"amount {category}"]
        for table, levels in (("claim", _OF_A_CLAIM), ("claim_line", _OF_A_LINE)):
            plain = [] if table == "claim" and category in _OF_LINES else spellings
            marked = (f"{level} {name}" for level in levels for name in spellings)
            names[f"{table}.amount_{category}"] = [*plain, *marked]


def _add_addresses(
    names: dict[str, list[str]], body: ElementsFile, bare: Vocabulary
) -> set[tuple[str, ...]]:
    """Add names of addresses: the names of the member's columns after a word for the use."""
    added = set()
    for key, name in _address_names(names, body.uses):
        names.setdefault(key, []).append(name)
        added.add(bare.name_words(name))
    return added


def _address_names(
    names: Mapping[str, list[str]], uses: Mapping[str, Sequence[str]]
) -> list[tuple[str, str]]:
    """Return elements of addresses of each use, each with a name."""
    elements = []
    for column in TABLES["member_address"].names:
        member_key = f"member.{column}"
        if TABLES["member"].column(column) is None or column in (
            "member_id",
            "last_updated",
        ):
            continue
        for use, words in uses.items():
            key = member_key if use == "home" else f"member_address.{column}[{use}]"
            spellings = [column, *names.get(member_key, ())]
            elements += [(key, f"{word} {name}") for word in words for name in spellings]
    return elements


def _carried_elements(
    names: Mapping[str, list[str]],
    body: ElementsFile,
    crosswalks: Mapping[str, Crosswalk],
    bare: Vocabulary,
    dropped: set[tuple[str, ...]],
) -> Iterator[KnownElement]:
    """Yield the elements that are columns of the canonical layout."""
    levels = {f"{table}.{name}" for table in ("claim", "claim_line") for name in AMOUNT_COLUMNS}
    for table in TABLES.values():
        for column in table.columns:
            if column.name == "record_action" or _is_numbered(column.name):
                continue
            name = "modifier_#" if column.name == "modifier_1" else column.name
            key = f"{table.name}.{name}"
            for header in (key, *(other for other in names if other.startswith(f"{key}["))):
                qualifier = header.removeprefix(key).strip("[]")
                entry = body.elements.get(header) or _main_address_entry(header, body)
                codes = crosswalks.get(entry.codes or "")
                # An amount has names with its level, another row a name of its own.
                own_names = [] if qualifier or key in levels else [column.name]
                plain = dict.fromkeys(
                    bare.name_words(text) for text in [*own_names, *names.get(header, ())]
                )
                yield KnownElement(
                    table=table.name,
                    column=name,
                    qualifier=qualifier,
                    names=tuple(text for text in plain if text and text not in dropped),
                    shape=entry.shape or _SHAPES.get(column.type, ""),
                    codes=frozenset(codes.rows) if codes else frozenset(),
                    amount=column.name if column.type is FieldType.MONEY else "",
                    map_ids=column.map_ids,
                )


def _main_address_entry(key: str, body: ElementsFile) -> ElementEntry:
    """Return the entry of the member's column for a column of a further address."""
    main = key.partition("[")[0].replace("member_address.", "member.")
    return body.elements.get(main, ElementEntry()) if main.startswith("member.") else ElementEntry()


def _ignored_elements(
    left_out: Mapping[str, IgnoredHeaders], bare: Vocabulary, dropped: set[tuple[str, ...]]
) -> Iterator[KnownElement]:
    """Yield an element for each header that no column carries."""
    for title, entry in left_out.items():
        for name in dict.fromkeys(bare.name_words(name) for name in (title, *entry.names)):
            if name not in dropped:
                yield KnownElement(NOTHING, title, "", (name,), reason=entry.reason)


def _is_numbered(column: str) -> bool:
    return column.startswith("modifier_") and column != "modifier_1"


def _layout_headers(layout: Layout) -> Iterator[tuple[str, str]]:
    """Yield the elements that a layout reads from a single header, and the header."""
    every = {table.name for table in EVERY_TABLE}
    for spec in layout.tables:
        for entry in (spec.columns, *spec.rows):
            marks = (entry[name].source for name in ("role", "use") if name in entry)
            mark = next((mark.text for mark in marks if isinstance(mark, ConstantText)), "")
            for column, column_spec in entry.items():
                if isinstance(column_spec.source, FromColumn) and column not in every:
                    name = "modifier_#" if column.startswith("modifier_") else column
                    qualified = f"[{mark}]" if mark and entry is not spec.columns else ""
                    yield f"{spec.table}.{name}{qualified}", column_spec.source.column


_LINE_PARTS: Final = ("claim_diagnosis", "claim_procedure", "claim_care_team", "claim_other_payer")
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "members": ("member", "member_address"),
    "coverages": ("coverage",),
    "members with their coverages": ("member", "member_address", "coverage"),
    "claims": ("claim", *_LINE_PARTS),
    "lines": ("claim_line", "claim_diagnosis", "claim_procedure"),
    "claims with their lines": ("claim", "claim_line", *_LINE_PARTS, "claim_adjustment"),
    "organizations": ("organization",),
    "practitioners": ("practitioner",),
    "further addresses": ("member_address",),
    "further phones": ("member_telecom",),
    "diagnoses": ("claim_diagnosis",),
    "procedures": ("claim_procedure",),
    "care team": ("claim_care_team",),
    "other payers": ("claim_other_payer",),
    "adjustments": ("claim_adjustment",),
    "teeth": ("claim_tooth",),
    "ingredients": ("claim_ingredient",),
    "transports": ("claim_transport",),
    "notes": ("claim_note",),
}
"""Kind of a file -> the canonical tables that its rows belong to."""
KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "member": (("member_id",), ("birth_date", "gender", "family_name", "full_name")),
    "coverage": (("member_id", "subscriber_id"), ("start_date", "plan_id", "payer_id", "status")),
    "claim": (("claim_id",), ("member_id", "claim_type", "statement_from_date", "paid_date")),
    "claim_line": (("claim_id",), ("line_number", "service_code", "service_from_date", "ndc")),
}
"""Table -> columns, at least one of which its files have, and columns that are likely."""
NAMED_ONCE: Final = frozenset(
    {"member_id", "claim_id", "line_number", "sequence", "last_updated", "line_numbers"}
)
"""Columns that a file has only once, even if it has rows of several tables."""
_DRUG_FACTS: Final = frozenset(
    f"claim.{name}"
    for name in (
        "days_supply",
        "daw_code",
        "refill_number",
        "refills_authorized",
        "rx_origin_code",
        "brand_generic_code",
        "compound_code",
    )
)
"""Facts of a pharmacy claim that files of lines may have."""


def possible_elements(every: Sequence[KnownElement], tables: Sequence[str]) -> Any:
    """Return the elements that a file of some tables may have; bool, shape (elements,).

    The key columns of the first table are not repeated for the others.
    """
    main, *other_tables = tables
    return np.array(
        [
            element.table in (NOTHING, main)
            or (
                element.table in other_tables
                and element.column not in NAMED_ONCE
                and _fits_beside(element)
            )
            or (tables == KINDS["lines"] and element.key in _DRUG_FACTS)
            or (element.key == "claim_line.line_number" and "claim_line" in tables)
            for element in every
        ]
    )


def _fits_beside(element: KnownElement) -> bool:
    """Return whether a file of another table may have the element.

    It may not be an amount, an address without its use, or a provider without a role.
    """
    if element.amount and element.table not in ("claim", "claim_line"):
        return False
    if element.table == "claim_care_team" and element.column in ("provider_id", "role"):
        return bool(element.qualifier)
    return element.table != "member_address" or bool(element.qualifier)
