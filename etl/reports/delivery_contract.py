"""A layout as a data contract (Open Data Contract Standard, ODCS) for the team that delivers.

https://bitol-io.github.io/open-data-contract-standard/v3.1.0/. What the contract asks for is at
least as strict as what is read: one form of dates, `Y` and `N`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from etl.model.data_models import DataModel
from etl.model.tables import Column, FieldType, Table
from etl.quality.rules.book import SINGLE, Rule, RuleBook
from etl.quality.rules.kind import RuleKind
from etl.quality.rules.kinds import (
    Orphan,
    Reading,
    Required,
    Rewrite,
    Unmet,
    Unreadable,
)
from etl.reports.contract_checks import ContractTable, RunnableCheck, checks
from etl.sources import Layout
from etl.sources.layout import RawTable, TableSpec
from etl.sources.layout_columns import ColumnSpec, FirstColumn, FromColumn, Lookup

Entry: TypeAlias = dict[str, Any]
API_VERSION: Final = "v3.1.0"
_IN_THE_SCHEMA: Final[tuple[type[RuleKind], ...]] = (Required, Unreadable)
_NOT_OF_THE_DELIVERY: Final[tuple[type[RuleKind], ...]] = (*SINGLE, Reading, Rewrite, Unmet)
_TYPES: Final[Mapping[FieldType, Entry]] = {
    FieldType.TEXT: {"logicalType": "string"},
    FieldType.CODE: {"logicalType": "string"},
    FieldType.DATE: {"logicalType": "date", "logicalTypeOptions": {"format": "yyyy-MM-dd"}},
    FieldType.TIMESTAMP: {
        "logicalType": "string",
        "description": "A day, YYYY-MM-DD, or an instant with its zone, as in RFC 3339.",
    },
    FieldType.MONEY: {"logicalType": "number", "physicalType": "DECIMAL(18,2)"},
    FieldType.DECIMAL: {"logicalType": "number"},
    FieldType.INTEGER: {"logicalType": "integer"},
    FieldType.FLAG: {"logicalType": "string", "logicalTypeOptions": {"pattern": "^[YN]$"}},
    FieldType.LIST: {"logicalType": "string", "description": "Values with ; between them."},
}


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """Terms of a contract that no layout has.

    Attributes:
        version: of the program, which is that of the contract.
        book: its rules, with the payer's severities.
    """

    version: str
    book: RuleBook


def contract(layout: Layout, terms: ContractTerms) -> Entry:
    """Return the contract of a layout as plain values; the same values each time.

    Rules become quality checks where SQL or the standard can express them, else text that people
    read. Those about reading files, about what is mapped, and about what depends on a rejected row
    are left out: no sender can keep or break them alone.
    """
    model = layout.model
    if layout.canonical:
        tables = [_canonical(table, terms.book) for table in model.tables.values()]
    else:
        tables = [_raw(raw, layout, terms.book) for raw in layout.raw.values()]
    return {
        "version": terms.version,
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": f"cpcds-delivery-{layout.name}",
        "name": layout.title,
        "status": "active",
        "domain": model.name,
        "description": {
            "purpose": f"Delivery of an extract in layout {layout.name}.",
            "usage": _usage(layout, model),
            "limitations": "Empty cells are NULL. Codes are text: their leading zeros count.",
        },
        "servers": [
            {
                "server": "extract",
                "type": "local",
                "path": "./{model}.csv",
                "format": "csv",
                "description": f"The folder of the extract. Delimiter: {_delimiter(layout)}",
            }
        ],
        "schema": tables,
    }


def _usage(layout: Layout, model: DataModel) -> str:
    if layout.canonical:
        return f"Files and cells are as on {model.page}."
    return " ".join(layout.description.split())


def _delimiter(layout: Layout) -> str:
    if layout.delimiter is None:
        return "as the file's ending says."
    return "tab." if layout.delimiter == "\t" else f"{layout.delimiter}"


# --- the canonical layouts


def _canonical(table: Table, book: RuleBook) -> Entry:
    subject = ContractTable(table.name, table.key, {name: name for name in table.names})
    found, texts = _rules(book, {table.name: subject})
    properties = [
        _property(column, table.key, found.pop(column.name, []), _parents(table, column, book))
        for column in table.columns
    ]
    return _table(
        {
            "name": table.name,
            "physicalName": table.file_name,
            "logicalType": "object",
            "physicalType": "file",
            "description": "Compulsory." if table.compulsory else "May be left out.",
            "dataGranularityDescription": table.grain,
        },
        properties,
        [*found.pop("", []), *texts],
    )


def _property(column: Column, key: tuple[str, ...], quality: list[Entry], to: list[str]) -> Entry:
    entry: Entry = {"name": column.name, **_TYPES[column.type]}
    if column.name in key:
        entry |= {"primaryKey": True, "primaryKeyPosition": key.index(column.name) + 1}
    entry["required"] = column.required
    if to:
        entry["relationships"] = [{"to": parent} for parent in to]
    if column.map_ids:
        entry["customProperties"] = [_custom("cpcdsMapIds", list(column.map_ids))]
    if quality:
        entry["quality"] = quality
    return entry


def _parents(table: Table, column: Column, book: RuleBook) -> list[str]:
    """Return the columns that a column refers to, `table.column`: where rules find orphans."""
    return [
        f"{rule.kind.parent}.{column.name}"
        for rule in book.of_kinds(Orphan)
        if isinstance(rule.kind, Orphan)
        and table.name in rule.tables
        and rule.kind.by == column.name
    ]


def _custom(name: str, value: Any) -> Entry:
    return {"property": name, "value": value}


def _table(head: Entry, properties: list[Entry], quality: list[Entry]) -> Entry:
    entry = {**head, "properties": properties}
    return {**entry, "quality": quality} if quality else entry


# --- other layouts


def _raw(raw: RawTable, layout: Layout, book: RuleBook) -> Entry:
    specs = [spec for spec in layout.tables if spec.source == raw.name]
    subjects = {}
    plain: dict[str, list[Column]] = defaultdict(list)
    for spec in specs:
        table = layout.model.tables[spec.table]
        names = {} if table.name in subjects else _taken_as_they_are(spec, raw)
        merged = bool(spec.grain)
        subjects[table.name] = ContractTable(
            table.name, table.key, names, alone=True, merged=merged
        )
        for name, header in names.items():
            column = table.column(name)
            if column is not None:
                required = column.required and not merged
                plain[header].append(replace(column, required=required))
    found, texts = _rules(book, subjects)
    properties = [
        _header(raw, header, plain[header], _elements(header, raw, layout), found.pop(header, []))
        for header in raw.columns
    ]
    head: Entry = {
        "name": raw.name,
        "logicalType": "object",
        "physicalType": "file",
        "description": _known_by(raw),
    }
    return _table(head, properties, [*found.pop("", []), *texts])


def _taken_as_they_are(spec: TableSpec, raw: RawTable) -> dict[str, str]:
    """Return canonical column -> header, for cells that become canonical ones unchanged.

    Rows that are turned, split or left out are none that a check of one row holds for.
    """
    if spec.where or spec.split is not None or spec.rows:
        return {}
    return {
        name: made.source.column
        for name, made in spec.columns.items()
        if isinstance(made.source, FromColumn)
        and made == ColumnSpec(made.source)
        and made.source.column in raw.columns
    }


def _elements(header: str, raw: RawTable, layout: Layout) -> list[str]:
    """Return the canonical columns, `table.column`, that take cells under a header."""
    return sorted(
        {
            f"{spec.table}.{name}"
            for spec in layout.tables
            for columns in (spec.columns, *spec.rows)
            for name, made in columns.items()
            if header in _cells(made, raw.name, spec.source)
        }
    )


def _cells(made: ColumnSpec, raw: str, source: str) -> frozenset[str]:
    """Return the headers of a raw file that a column is made of; keys of lookups are none."""
    match made.source:
        case Lookup(table=table, value=value):
            return frozenset({value}) if table == raw else frozenset()
        case FirstColumn(options=options):
            return frozenset().union(*(_cells(option, raw, source) for option in options))
        case _:
            pass
    return made.headers() if source == raw else frozenset()


def _header(
    raw: RawTable,
    header: str,
    plain: list[Column],
    uses: list[str],
    quality: list[Entry],
) -> Entry:
    types = {column.type for column in plain}
    entry: Entry = {
        "name": header,
        **(_TYPES[types.pop()] if len(types) == 1 else _TYPES[FieldType.TEXT]),
    }
    entry["required"] = header in raw.ids.values() or any(column.required for column in plain)
    if header in raw.unused:
        entry["description"] = f"Not used: {' '.join(raw.unused[header].split())}."
    map_ids = sorted({number for column in plain for number in column.map_ids})
    custom = [_custom("cpcdsElements", uses)] if uses else []
    if map_ids:
        custom.append(_custom("cpcdsMapIds", map_ids))
    if custom:
        entry["customProperties"] = custom
    if quality:
        entry["quality"] = quality
    return entry


def _known_by(raw: RawTable) -> str:
    presence = "Compulsory." if raw.compulsory else "May be left out."
    if raw.named:
        presence += f" Its files are named {' or '.join(raw.named)}."
    if not raw.has_header:
        return f"{presence} They have no row of headers."
    return f"{presence} Headers without which a file is not this one: {', '.join(raw.required)}."


# --- rules


def _rules(
    book: RuleBook, subjects: Mapping[str, ContractTable]
) -> tuple[dict[str, list[Entry]], list[Entry]]:
    """Return the rules of some tables: column -> checks that can be run, and the rest as text."""
    found: dict[str, list[Entry]] = defaultdict(list)
    texts = []
    for rule in _of_the_delivery(book):
        tables = [table for table in rule.tables if table in subjects]
        runnable = [check for table in tables for check in checks(rule, subjects[table])]
        for number, check in enumerate(_once(runnable), start=1):
            name = rule.id if len(runnable) == 1 else f"{rule.id}-{number}"
            found[check.column].append(_entry(rule, name, check.body))
        if tables and not runnable:
            texts.append(_entry(rule, rule.id, {"type": "text"}))
    return found, texts


def _of_the_delivery(book: RuleBook) -> Iterator[Rule]:
    """Yield the rules that a delivery can break and that are not in the schema already."""
    for rule in book.rules:
        if not isinstance(rule.kind, (*_IN_THE_SCHEMA, *_NOT_OF_THE_DELIVERY)):
            yield rule


def _once(runnable: list[RunnableCheck]) -> list[RunnableCheck]:
    """Return each check once; their bodies have no hash."""
    kept: list[RunnableCheck] = []
    for check in runnable:
        if check not in kept:
            kept.append(check)
    return kept


def _entry(rule: Rule, name: str, body: Entry) -> Entry:
    return {
        "name": name,
        **body,
        "description": rule.says,
        "businessImpact": rule.spoils,
        "severity": "error" if rule.severity.rejects else "warning",
    }
