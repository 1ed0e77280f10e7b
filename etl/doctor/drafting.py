"""Draft a layout in YAML from an examination; `cpcds layouts check` accepts it.

Uncertain columns are not used: a column without a match, or an amount that may be one of several,
is listed under `unused` with the question as the reason. Columns that CARIN Blue Button requires
and no file has are drafted as always absent: their rows go to the quarantine until the author of
the layout states where the values come from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import escape
from typing import Final

from etl.doctor.elements import KINDS, NOTHING
from etl.doctor.examination import Examination, ExaminedColumn, ExaminedFile
from etl.doctor.matching import SURE
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.model.crosswalks import Crosswalk
from etl.sources.files.listed_files import (
    COMPRESSIONS,
    ENDINGS,
    PARQUET_ENDING,
    TEXT_ENDINGS,
)
from etl.sources.layout.model import FromColumn, Layout, normalize_header

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9 _()./-]*")
_YAML_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_DELIMITERS: Final = {",": '","', "|": '"|"', ";": '";"', "\t": "tab"}
_WITH_ROLES: Final = {"claim_care_team": "role", "member_address": "use"}
_TYPED: Final = ("claim_diagnosis", "claim_procedure")
_IDS: Final = {
    "member": {"member": "member_id"},
    "coverage": {"member": "member_id", "coverage": "coverage_id"},
    "claim": {"member": "member_id", "claim": "claim_id"},
    "member_address": {"member": "member_id"},
    "member_telecom": {"member": "member_id"},
    **{name: {"claim": "claim_id"} for name in TABLES if name.startswith("claim_")},
}
"""Table -> role -> column with the ID of the row's member, claim or coverage."""


def can_be_drafted(file: ExaminedFile) -> bool:
    """Return whether a layout can be drafted for a file."""
    return bool(file.kind and file.columns) and not _not_drafted(file)


@dataclass(slots=True)
class FileDraft:
    """A file in a draft.

    Attributes:
        name: name of the raw table.
        file: the examined file.
        ids: role -> header with its ID.
        used: headers that the draft reads.
        placeholders: role -> header that stands in for an unknown ID column.
        columns: the columns that are certain.
    """

    name: str
    file: ExaminedFile
    ids: dict[str, str]
    used: set[str] = field(default_factory=set)
    placeholders: dict[str, str] = field(default_factory=dict)
    columns: tuple[ExaminedColumn, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        return KINDS.get(self.file.kind, ())

    def columns_of(self, table: str) -> list[ExaminedColumn]:
        """Return the columns that are elements of a table."""
        return [column for column in self.columns if _table(column) == table]

    def header_of(self, table: str, column: str) -> str | None:
        """Return the header of an unqualified element of a table; None if no column is it."""
        for candidate in self.columns_of(table):
            element = candidate.match.element
            if element and element.column == column and not element.qualifier:
                return candidate.header
        return None


class LayoutDraft:
    """Writes the layout of one examination.

    Args:
        examination: the examined files.
        name: name of the layout.
        layouts: known layouts; their crosswalks may fit the words of a column.
    """

    def __init__(self, examination: Examination, name: str, layouts: Iterable[Layout] = ()) -> None:
        self._examination, self._name = examination, name
        self._crosswalks = _crosswalks_of(layouts)
        self._raws = draft_files(examination)

    def text(self) -> str:
        """Return the YAML."""
        tables = list(self._table_lines())  # first: what they use is no longer unused
        delimiters = {raw.file.form.physical.delimiter for raw in self._raws} - {""}
        files = [raw.file.name for raw in self._raws]
        head = [
            "# Drafted by `cpcds doctor`. Look for QUESTION and MISSING. docs/layouts.md explains",
            "# the language; `cpcds layouts check` says what is wrong with the file.",
            f"layout: {self._name}",
            f"title: {_quoted(self._name)}",
            f"description: {_quoted('Started from ' + ', '.join(files) + '.')}",
        ]
        if len(delimiters) == 1 and (only := next(iter(delimiters))) in _DELIMITERS:
            head.append(f"delimiter: {_DELIMITERS[only]}")
        elif delimiters:
            head.append("# QUESTION: the files have several delimiters; use the same one in all")
        head += [
            f"# QUESTION: {file.name} is not in this draft: {why}"
            for file in self._examination.files
            if (why := _not_drafted(file))
        ]
        body = [line for raw in self._raws for line in self._raw_lines(raw)]
        return "\n".join([*head, "", "raw:", *body, "tables:", *tables, ""])

    # --- raw files

    def _raw_lines(self, raw: FileDraft) -> Iterator[str]:
        kind = raw.file.kind or "QUESTION: what are its rows?"
        yield f"  {raw.name}:  # {raw.file.name}: {kind}"
        if any(TABLES[table].compulsory for table in raw.tables):
            yield "    compulsory: true"
        if self._is_ambiguous(raw) or not _has_data_ending(raw.file.name):
            yield f"    named: {_quoted(escape(_file_stem(raw.file.name)))}"
        for role, header in raw.ids.items():
            yield f"    {role}: {_quoted(header)}"
        for role, header in raw.placeholders.items():
            yield f"    {role}: {_quoted(header)}  # MISSING: which column is it?"
        if extra_cells := raw.file.form.extra_cells:
            yield f"    extra_cells: {{ most: {extra_cells}, reason: empty in every row }}"
        required = _identifying_columns(raw)
        yield f"    required: [{', '.join(map(_quoted, required))}]"
        other_headers = [column.header for column in raw.columns if column.header not in required]
        yield "    columns:" if other_headers else "    columns: []"
        for header in other_headers:
            yield f"      - {_quoted(header)}"
        unused = [column for column in raw.columns if column.header not in raw.used]
        if unused:
            yield "    unused:"
        for column in unused:
            why = _quoted(describe_doubt(column))
            yield f"      - {{ column: {_quoted(column.header)}, reason: {why} }}"
        yield ""

    def _is_ambiguous(self, raw: FileDraft) -> bool:
        """Return whether another file has all headers that identify this one."""
        required = set(_identifying_columns(raw))
        headers = {normalize_header(column.header) for column in raw.columns}
        of_others = (
            {normalize_header(one.header) for one in other.columns}
            for other in self._raws
            if other is not raw
        )
        return any(set(map(normalize_header, required)) <= other <= headers for other in of_others)

    # --- tables

    def _table_lines(self) -> Iterator[str]:
        for table in TABLES.values():
            raws = [
                raw
                for raw in self._raws
                if table.name in raw.tables and self._can_feed(raw, table.name)
            ]
            specs = [lines for raw in raws if (lines := list(self._table_spec(raw, table.name)))]
            if not specs and table.compulsory:
                specs = [lines for lines in [list(self._placeholder_lines(table.name))] if lines]
            if len(specs) == 1:
                yield f"  {table.name}:"
                yield from (f"    {line}" for line in specs[0])
            elif specs:
                yield f"  {table.name}:"
                for lines in specs:
                    yield f"    - {lines[0]}"
                    yield from (f"      {line}" for line in lines[1:])
            if specs:
                yield ""

    def _can_feed(self, raw: FileDraft, table: str) -> bool:
        """Return whether a file has the IDs of a table's rows, and columns for it."""
        has_ids = _IDS.get(table, {}).keys() <= raw.ids.keys()
        return has_ids and (table == raw.tables[0] or bool(raw.columns_of(table)))

    def _placeholder_lines(self, table: str) -> Iterator[str]:
        """Yield a table that no file has, with IDs only; none of its rows is published."""
        roles = _IDS.get(table, {"claim": "claim_id"})
        if not self._raws:
            return
        raw = max(self._raws, key=lambda raw: len(raw.ids.keys() & {"member", *roles}))
        filled = (column.header for column in raw.columns if column.has_values)
        key = raw.ids.get("member") or next(filled, raw.columns[0].header)
        ids = {role: raw.ids.get(role, key) for role in roles}
        raw.placeholders |= {role: key for role in roles if role not in raw.ids}
        raw.used |= {key, *ids.values()}
        yield f"from: {raw.name}  # MISSING: no file found; its rows go to the quarantine"
        yield f"grain: [{', '.join(map(_quoted, dict.fromkeys(ids.values())))}]"
        yield "columns:"
        for role, column in roles.items():
            yield f"  {column}: {_quoted(ids[role])}"
        for column in TABLES[table].required:
            if column not in roles.values():
                yield f"  {column}: {_absent_value(key)}  # MISSING"

    def _table_spec(self, raw: FileDraft, table: str) -> Iterator[str]:
        wide = len(raw.tables) > 1 and "claim" in raw.tables and "claim_line" in raw.tables
        groups = column_groups(raw, table)
        if table != raw.tables[0] and table in (*_TYPED, *_WITH_ROLES) and not groups:
            return
        yield f"from: {raw.name}"
        keys = [raw.ids[role] for role in ("claim", "member") if role in raw.ids]
        line = raw.header_of("claim_line", "line_number") if wide else None
        raw.used |= {line} if line else set()
        single = table in _TYPED and table != raw.tables[0] and is_single(groups)
        if single:
            keys.append(groups[0]["code"].header)
            yield f"where: {{ column: {_quoted(groups[0]['code'].header)}, filled: true }}"
        if (wide and table != "claim_line") or single:
            yield f"grain: [{', '.join(map(_quoted, keys))}]"
        elif raw.file.kind == "members with their coverages" and table == "member":
            yield f"grain: [{_quoted(raw.ids['member'])}]"
        if wide and table != "claim_line" and line:
            yield f"order: [{_quoted(line)}]"
        if table == "claim_other_payer" and table != raw.tables[0]:
            yield from self._other_payer_lines(raw)
        needs = {
            "claim_diagnosis": "code",
            "claim_procedure": "code",
            "claim_care_team": "provider_id",
        }
        if table in needs and table != raw.tables[0]:
            yield f"needs: [{needs[table]}]"
        if table == "member_address" and groups:
            names = dict.fromkeys(name for group in groups for name in group)
            yield f"needs_any: [{', '.join(names)}]"
        yield "columns:"
        yield from (f"  {text}" for text in self._column_lines(raw, table, groups, line))
        if groups and not single:
            yield "rows:"
            for number, group in enumerate(groups, start=1):
                yield f"  - {{ {', '.join(self._row_cells(raw, table, group, number))} }}"

    def _other_payer_lines(self, raw: FileDraft) -> Iterator[str]:
        """Yield the condition of rows with another payer: the coverage isn't the claim's."""
        other, own = (raw.header_of(name, "coverage_id") for name in ("claim_other_payer", "claim"))
        if other and own:
            raw.used |= {other, own}
            yield f"where: {{ column: {_quoted(other)}, differs_from: {_quoted(own)} }}"
        names = dict.fromkeys(
            column.match.element.column
            for column in raw.columns_of("claim_other_payer")
            if column.match.element
        )
        yield f"needs_any: [{', '.join(names)}]"

    def _column_lines(
        self,
        raw: FileDraft,
        table: str,
        groups: Sequence[Mapping[str, ExaminedColumn]],
        line: str | None,
    ) -> Iterator[str]:
        written: set[str] = set()
        for role, column in _IDS.get(table, {}).items():
            raw.used.add(raw.ids[role])
            written.add(column)
            yield f"{column}: {_quoted(raw.ids[role])}"
        beside = table != raw.tables[0] and (table in _TYPED or table in _WITH_ROLES)
        beside = beside or (table == "claim_other_payer" and table != raw.tables[0])
        if beside and table != "member_address":
            written.add("sequence")
            yield "sequence: { number_within: [claim_id] }"
        grouped = {id(column) for group in groups for column in group.values()}
        single = is_single(groups)
        for examined in raw.columns_of(table):
            element = examined.match.element
            name = examined.element.partition(".")[2].partition("[")[0]
            if element is None or name in written or (id(examined) in grouped and not single):
                continue
            written.add(name)
            raw.used.add(examined.header)
            yield f"{name}: {self._column_source(examined)}  # {describe_match(examined)}"
        if single and line and table == "claim_diagnosis":
            yield f"line_numbers: {{ each_row: {_quoted(line)} }}"
        in_rows = {name for group in groups for name in group}
        in_rows |= {"type", "sequence"} if groups and table == "member_address" else set()
        in_rows |= {_WITH_ROLES[table]} if groups and table in _WITH_ROLES else set()
        for name in TABLES[table].required:
            if name not in written and name not in in_rows:
                yield self._fallback_column(raw, table, name)

    def _fallback_column(self, raw: FileDraft, table: str, name: str) -> str:
        """Return a required column without a header: looked up if possible, else always absent."""
        if (table, name) == ("claim", "payer_id") and (text := self._payer_of_coverage(raw)):
            return f"payer_id: {text}  # the payer of the coverage"
        key = next(iter(raw.ids.values()), raw.columns[0].header)
        raw.used.add(key)
        hint = ""
        if name == "adjudication_date" and (paid := raw.header_of("claim", "paid_date")):
            hint = f"; or {{ first_of: [{_quoted(paid)}], finding: dialect-stand-in-value }}"
        return f"{name}: {_absent_value(key)}  # MISSING: no column found{hint}"

    def _payer_of_coverage(self, raw: FileDraft) -> str:
        by = raw.header_of("claim", "coverage_id")
        for draft in self._raws:
            key, value = (draft.header_of("coverage", name) for name in ("coverage_id", "payer_id"))
            of_members = "member" in raw.ids and "member" in draft.ids
            if by and key and value and draft is not raw and of_members:
                raw.used.add(by)
                draft.used |= {key, value}
                parts = {"table": draft.name, "key": key, "by": by, "value": value}
                inside = ", ".join(f"{name}: {_quoted(text)}" for name, text in parts.items())
                return f"{{ lookup: {{ {inside} }} }}"
        return ""

    def _row_cells(
        self, raw: FileDraft, table: str, group: Mapping[str, ExaminedColumn], number: int
    ) -> Iterator[str]:
        first = next(iter(group.values())).match.element
        qualifier = first.qualifier if first else ""
        if table == "member_address":
            yield f'sequence: {{ constant: "{number}" }}'
        if qualifier:
            yield f"{_WITH_ROLES.get(table, 'type')}: {{ constant: {qualifier} }}"
        for name, column in group.items():
            raw.used.add(column.header)
            yield f"{name}: {self._column_source(column)}"

    def _column_source(self, column: ExaminedColumn) -> str:
        """Return the YAML that reads a column."""
        header, element = _quoted(column.header), column.match.element
        extra = ""
        if element is not None and element.amount and column.profile.share("long_fraction") > 0:
            extra = ", amount: true"
        if element is not None and (name := self._crosswalk(column)):
            extra = f", crosswalk: {name}"
        if column.profile.absent_dates:
            extra += f", sentinels: {json.dumps(column.profile.absent_dates)}"
        return f"{{ column: {header}{extra} }}" if extra else header

    def _crosswalk(self, column: ExaminedColumn) -> str:
        """Return the crosswalk of a known layout that has every word of a column; "" for none."""
        element, words = column.match.element, column.profile.words
        if element is None or not words or (element.codes and words <= element.codes):
            return ""
        for crosswalk in self._crosswalks.get((element.table, element.column), ()):
            if words <= crosswalk.rows.keys():
                return crosswalk.name.removeprefix("layouts/")
        return ""


def draft_files(examination: Examination) -> list[FileDraft]:
    """Return the files that can be drafted, with the columns that are certain."""
    names: set[str] = set()
    return [_draft_raw_file(file, names) for file in examination.files if can_be_drafted(file)]


def _draft_raw_file(file: ExaminedFile, names: set[str]) -> FileDraft:
    stem = normalize_header(file.name.partition(".")[0]).strip("_")
    name = re.sub(r"[^a-z0-9_]", "", stem)
    name = name if name[:1].isalpha() else f"file_{name}".rstrip("_")
    while name in names:
        name += "_2"
    names.add(name)
    seen_headers: set[str] = set()
    columns = []
    for column in file.columns:
        spelling = normalize_header(column.header)
        if column.header != f"column {column.position}" and spelling not in seen_headers:
            seen_headers.add(spelling)
            doubtful = column.match.confidence < SURE or (file.rows and not column.profile.filled)
            columns.append(_as_question(column) if doubtful else column)
    raw = FileDraft(name, file, {}, columns=tuple(columns))
    main = next(iter(raw.tables), "")
    for role, table in (("member", main), ("claim", main), ("coverage", "coverage")):
        if header := raw.header_of(table, f"{role}_id"):
            raw.ids[role] = header
            raw.used.add(header)
    return raw


def _identifying_columns(raw: FileDraft) -> list[str]:
    """Return the columns that identify a file: its IDs, and others that are certain."""
    required = dict.fromkeys(raw.ids.values())
    for column in raw.columns:
        element = column.match.element
        needed = element is not None and element.is_required
        if needed and TABLES[_table(column)].compulsory and column.match.confidence > 0.8:
            required[column.header] = None
    return list(required) or [column.header for column in raw.columns[:3]]


def _not_drafted(file: ExaminedFile) -> str:
    """Return why no layout can be drafted for a file; "" if one can, or if it isn't a table."""
    is_unknown = file.columns and not file.kind
    return file.form.not_drafted or ("it is unknown what its rows are" if is_unknown else "")


def _file_stem(name: str) -> str:
    """Return the name of a file without the extensions that a layout ignores."""
    for endings in (tuple(COMPRESSIONS), (*ENDINGS, *TEXT_ENDINGS)):
        ending = next((suffix for suffix in endings if name.lower().endswith(suffix)), "")
        name = name.removesuffix(name[len(name) - len(ending) :]) if ending else name
    return name


def _has_data_ending(name: str) -> bool:
    """Return whether a layout reads a file without being told its name."""
    stem = next((name[: -len(end)] for end in COMPRESSIONS if name.lower().endswith(end)), name)
    return stem.lower().endswith((*ENDINGS, PARQUET_ENDING))


def _as_question(column: ExaminedColumn) -> ExaminedColumn:
    """Return a column with its uncertain match turned into a question."""
    match = column.match
    if match.element is None or match.element.table == NOTHING:
        return column
    rivals = (match.element, *match.rivals)
    return replace(column, match=replace(match, element=None, rivals=rivals, question=True))


def column_groups(raw: FileDraft, table: str) -> list[dict[str, ExaminedColumn]]:
    """Group the columns of a table that form a row: those of one number or role."""
    if table not in (*_TYPED, *_WITH_ROLES) or table == raw.tables[0]:
        return []
    groups: dict[tuple[str, int], dict[str, ExaminedColumn]] = {}
    for column in raw.columns_of(table):
        element = column.match.element
        if element is None:
            continue
        number = column.number or 0
        groups.setdefault((element.qualifier, number), {})[element.column] = column
    main = {"claim_care_team": "provider_id"}.get(table, "code")
    return [
        group
        for (qualifier, _), group in groups.items()
        if (table == "member_address" and qualifier) or main in group
    ]


def is_single(groups: Sequence[Mapping[str, ExaminedColumn]]) -> bool:
    """Return whether there is only one column of codes, without a number or a role."""
    if len(groups) != 1:
        return False
    column = groups[0].get("code")
    if column is None or column.number:
        return False
    return not (column.match.element and column.match.element.qualifier)


def _crosswalks_of(layouts: Iterable[Layout]) -> Mapping[tuple[str, str], list[Crosswalk]]:
    crosswalks: dict[tuple[str, str], list[Crosswalk]] = {}
    for layout in layouts:
        for spec in layout.tables:
            for columns in (spec.columns, *spec.rows):
                for name, column in columns.items():
                    plain = isinstance(column.source, FromColumn) and column.accept is None
                    if column.crosswalk is not None and plain:
                        crosswalks.setdefault((spec.table, name), []).append(column.crosswalk)
    return crosswalks


def _table(column: ExaminedColumn) -> str:
    return column.element.partition(".")[0]


def _absent_value(header: str) -> str:
    """Return a value that is always absent."""
    quoted = _quoted(header)
    return f"{{ column: {quoted}, when: {{ column: {quoted}, filled: false }} }}"


def describe_match(column: ExaminedColumn) -> str:
    match = column.match
    sentence = f"{column.confidence:.0%}"
    if not column.has_values:
        sentence += "; QUESTION: no value was seen"
    if match.rivals:
        sentence += f"; QUESTION: or {' or '.join(other.key for other in match.rivals)}"
    if column.profile.ambiguous_date:
        sentence += "; QUESTION: day or month first?"
    elif column.advice:
        sentence += f"; QUESTION: {column.advice}"
    return sentence


def describe_doubt(column: ExaminedColumn) -> str:
    match = column.match
    if match.question:
        return f"QUESTION: {' or '.join(other.key for other in match.rivals)}?"
    if match.element is not None and match.element.table == NOTHING:
        return match.element.reason
    if match.element is not None:
        return f"QUESTION: it looks like {match.element.key}, which this file cannot feed as it is"
    return "QUESTION: what is it?"


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS and text == text.strip():
        return text
    return json.dumps(text, ensure_ascii=False)
