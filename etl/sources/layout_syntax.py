"""Layout files: YAML text into a checked `Layout`. docs/layouts.md is the page for authors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from etl.documents import Map, Seq, read_yaml
from etl.errors import MappingError, Mistakes
from etl.model.canonical_tables import TABLES
from etl.model.crosswalks import Crosswalk, read_crosswalk
from etl.sources import rule_ids
from etl.sources.layout import (
    Accept,
    ColumnSpec,
    Condition,
    ConstantText,
    EachRow,
    Fills,
    FirstColumn,
    FromColumn,
    JoinedColumns,
    Layout,
    Lookup,
    Number,
    RawTable,
    RowOrder,
    Source,
    TableSpec,
    spelling,
)
from etl.sources.layout_checks import check_layout

_LAYOUT_KEYS: Final = ("layout", "title", "description", "delimiter", "quoting", "raw", "tables")
_RAW_KEYS: Final = (
    "required",
    "columns",
    "compulsory",
    "member",
    "claim",
    "coverage",
    "fills",
    "unused",
    "aliases",
)
_TABLE_KEYS: Final = ("from", "where", "grain", "order", "needs", "needs_any", "columns", "rows")
_SOURCE_KEYS: Final = (
    "column",
    "constant",
    "first_of",
    "join",
    "each_row",
    "lookup",
    "number_within",
)
_CONVERSION_KEYS: Final = (
    "among",
    "when",
    "sentinels",
    "accept",
    "crosswalk",
    "answer",
    "rule",
    "amount",
    "conflict",
    "finding",
)
_CONFLICTS: Final = {"reject": rule_ids.CONFLICT, "left-out": rule_ids.LEFT_OUT_CONFLICT}
_CONDITION_KEYS: Final = ("column", "any_of", "none_of", "filled", "differs_from")
_FILLS_KEYS: Final = ("where", "by")
_LOOKUP_KEYS: Final = ("table", "key", "by", "value", "order")
_ORDER_KEYS: Final = ("column", "descending")
_RAW_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_DELIMITERS: Final = {",": ",", "|": "|", "tab": "\t", ";": ";"}


def read_layout(text: str, file: str, crosswalks: Mapping[str, Crosswalk]) -> Layout:
    """Return the layout that a YAML text describes.

    Args:
        text: the YAML.
        file: what messages call the file.
        crosswalks: those that a column may name.

    Raises:
        MappingError: `layout-key`, `layout-value`, `layout-table`, `layout-column`,
            `layout-header`, `layout-crosswalk`, `layout-rule`, `layout-keys`, `layout-required`,
            `layout-unaccounted`, or one of `read_yaml`; every mistake of the file at once.
    """
    return _Reader(text, file, crosswalks).layout()


def load_layouts(folder: Path, crosswalk_folders: Sequence[Path]) -> tuple[Layout, ...]:
    """Return the layouts of a folder, `*.yaml`, in the order of their names.

    Args:
        folder: where they are.
        crosswalk_folders: where crosswalks are, `*.csv`; a file of the same name in a later folder
            is a payer's own and is laid over the earlier one.

    Raises:
        MappingError: a file of them is wrong or cannot be read.
    """
    crosswalks: dict[str, Crosswalk] = {}
    for other in crosswalk_folders:
        for path in sorted(other.glob("*.csv")):
            crosswalk = read_crosswalk(_text(path), path.stem, file=str(path))
            base = crosswalks.get(path.stem)
            crosswalks[path.stem] = base.overlaid(crosswalk) if base else crosswalk
    return tuple(
        read_layout(_text(path), str(path), crosswalks) for path in sorted(folder.glob("*.yaml"))
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise MappingError(str(path), "layout-value", "the file cannot be read as UTF-8") from None


class _Reader:
    """Reads one file, keeping the place for messages."""

    def __init__(self, text: str, file: str, crosswalks: Mapping[str, Crosswalk]) -> None:
        self._text, self._file, self._crosswalks = text, file, crosswalks
        self._used: dict[str, Crosswalk] = {}
        self._raw: dict[str, RawTable] = {}
        self._feeds: dict[str, str] = {}
        self._mistakes = Mistakes()
        self._declared: frozenset[str] = frozenset()

    def layout(self) -> Layout:
        top = self._map(read_yaml(self._text, self._file), self._file, _LAYOUT_KEYS)
        for key in ("layout", "title", "description", "raw", "tables"):
            if key not in top and not self._mistakes:  # a misspelt key is told once
                where = f"{self._file}:{top.line}"
                self._mistakes.add(MappingError(where, "layout-key", f"{key} is missing"))
        raws = self._map(top.get("raw", Map()), self._at(top, "raw"))
        tables = self._map(top.get("tables", Map()), self._at(top, "tables"))
        once: dict[str, str] = {}
        for table, value in tables.items():
            if table not in TABLES:
                where, hint = self._at(tables, table), _near(table, TABLES)
                self._mistakes.add(
                    MappingError(where, "layout-table", f"no table {table!r}", hint=hint)
                )
            for entry in value if isinstance(value, Seq) else [value]:
                if isinstance(entry, Map) and isinstance(entry.get("from"), str):
                    # Whole rows are counted under the table that has a row for each of them.
                    self._feeds.setdefault(entry["from"], table)
                    if not {"grain", "where", "rows"} & entry.keys():
                        once.setdefault(entry["from"], table)
        self._feeds |= once
        self._declared = frozenset(raws)
        for name in raws:
            with self._mistakes.collected():
                self._raw[name] = self._raw_table(raws, name)
        specs = tuple(self._tables(tables))
        self._look_at_words(top)
        self._mistakes.report()
        layout = Layout(
            name=self._word(top, "layout"),
            title=self._word(top, "title"),
            description=self._word(top, "description"),
            raw=MappingProxyType(self._raw),
            tables=specs,
            delimiter=self._delimiter(top),
            quoting=self._flag(top, "quoting", default=True),
            file=self._file,
            text=self._text,
            crosswalks=MappingProxyType(self._used),
        )
        check_layout(layout, lambda name: self._at(raws, name), lambda name: self._at(tables, name))
        return layout

    # --- raw files

    def _raw_table(self, raws: Map, name: str) -> RawTable:
        where = self._at(raws, name)
        if not _RAW_NAME.fullmatch(name):
            # Files of the work folder are called after it.
            raise MappingError(
                where, "layout-value", f"{name!r} must be lower-case letters, digits and _"
            )
        entry = self._map(raws[name], where, _RAW_KEYS)
        required = self._words(entry, "required")
        columns = (*required, *self._words(entry, "columns"))
        seen: dict[str, str] = {}
        for header in columns:
            if seen.setdefault(spelling(header), header) != header or columns.count(header) > 1:
                raise MappingError(where, "layout-header", f"{header!r} stands twice in {name}")
        keys = {}
        for role in ("member", "claim", "coverage"):
            keys[role] = self._word(entry, role) if role in entry else None
            if keys[role] is not None:
                self._known(keys[role] or "", columns, self._at(entry, role), name)
        raw = RawTable(name=name, columns=columns, required=required, compulsory=False)
        return RawTable(
            name=name,
            columns=columns,
            required=required,
            compulsory=self._flag(entry, "compulsory", default=False),
            unused=MappingProxyType(self._unused(entry, columns, name)),
            aliases=MappingProxyType(self._aliases(entry, columns, name)),
            main=self._feeds.get(name, "*"),
            member=keys["member"],
            claim=keys["claim"],
            coverage=keys["coverage"],
            fills=self._fills(entry, raw, keys["claim"]),
        )

    def _fills(self, entry: Map, raw: RawTable, claim: str | None) -> Fills | None:
        if "fills" not in entry:
            return None
        where = self._at(entry, "fills")
        value = self._map(entry["fills"], where, _FILLS_KEYS)
        if claim is None or "where" not in value:
            raise MappingError(where, "layout-key", "fills need a claim, and where they are")
        by = self._word(value, "by")
        self._known(by, raw.columns, where, raw.name)
        return Fills(self._conditions(value, "where", raw), by)

    def _unused(self, entry: Map, columns: Sequence[str], name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for value, where in self._entries(entry, "unused"):
            item = self._map(value, where, ("column", "columns", "reason"))
            reason = self._word(item, "reason")
            headers = self._words(item, "columns") or (self._word(item, "column"),)
            for header in headers:
                self._known(header, columns, where, name)
                found[header] = reason
        return found

    def _aliases(self, entry: Map, columns: Sequence[str], name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        if "aliases" not in entry:
            return found
        sets = self._map(entry["aliases"], self._at(entry, "aliases"))
        for title in sets:
            pairs = self._map(sets[title], self._at(sets, title))
            for header in pairs:
                where = self._at(pairs, header)
                self._known(header, columns, where, name)
                for other in self._words(pairs, header):
                    if found.setdefault(spelling(other), header) != header:
                        raise MappingError(
                            where, "layout-header", f"{other!r} stands for two columns"
                        )
        return found

    # --- canonical tables

    def _look_at_words(self, top: Map) -> None:
        for key in ("layout", "title", "description", "delimiter", "quoting"):
            with self._mistakes.collected():
                if key == "quoting":
                    self._flag(top, key, default=True)
                elif key == "delimiter":
                    self._delimiter(top)
                elif key in top:
                    self._word(top, key)

    def _tables(self, tables: Map) -> Iterator[TableSpec]:
        for table, value in tables.items():
            if table in TABLES:
                for entry in value if isinstance(value, Seq) else [value]:
                    with self._mistakes.collected():
                        yield self._table(entry, table, self._at(tables, table))

    def _table(self, value: Any, table: str, where: str) -> TableSpec:
        entry = self._map(value, where, _TABLE_KEYS)
        raw = self._raw_named(self._word(entry, "from"), self._at(entry, "from"))
        for key in ("grain", "order"):
            with self._mistakes.collected():
                for header in self._words(entry, key):
                    self._known(header, raw.columns, self._at(entry, key), raw.name)
        for key in ("needs", "needs_any"):
            with self._mistakes.collected():
                for name in self._words(entry, key):
                    self._canonical(name, table, self._at(entry, key))
        return TableSpec(
            table=table,
            source=raw.name,
            columns=self._columns(entry.get("columns", Map()), table, raw, where),
            where=self._conditions(entry, "where", raw),
            grain=self._words(entry, "grain"),
            order=self._words(entry, "order"),
            needs=self._words(entry, "needs"),
            needs_any=self._words(entry, "needs_any"),
            rows=tuple(
                self._columns(row, table, raw, at) for row, at in self._entries(entry, "rows")
            ),
        )

    def _columns(
        self, value: Any, table: str, raw: RawTable, where: str
    ) -> Mapping[str, ColumnSpec]:
        columns = self._map(value, where)
        made = {}
        for name in columns:
            with self._mistakes.collected():
                self._canonical(name, table, self._at(columns, name))
                made[name] = self._column(columns[name], table, raw, self._at(columns, name))
        return MappingProxyType(made)

    def _column(self, value: Any, table: str, raw: RawTable, where: str) -> ColumnSpec:
        if isinstance(value, str):
            self._known(value, raw.columns, where, raw.name)
            return ColumnSpec(FromColumn(value))
        entry = self._map(value, where, (*_SOURCE_KEYS, *_CONVERSION_KEYS))
        accept = None
        if "accept" in entry:
            accept = self._accept(entry, raw)
        name = self._word(entry, "crosswalk") if "crosswalk" in entry else None
        crosswalk = self._crosswalk(name, self._at(entry, "crosswalk")) if name else None
        answer = self._word(entry, "answer") if "answer" in entry else None
        if answer is not None and (crosswalk is None or answer not in crosswalk.columns):
            raise MappingError(
                self._at(entry, "answer"), "layout-crosswalk", f"no answer column {answer!r}"
            )
        finding = self._rule(entry, "finding")
        return ColumnSpec(
            source=self._source(entry, table, raw, where),
            among=self._conditions(entry, "among", raw),
            when=self._conditions(entry, "when", raw),
            sentinels=frozenset(self._words(entry, "sentinels")),
            accept=accept,
            crosswalk=crosswalk,
            answer=answer,
            rule=self._rule(entry, "rule") or rule_ids.UNMAPPED_WORD,
            amount=self._flag(entry, "amount", default=False),
            conflict=self._conflict(entry),
            finding=finding,
        )

    def _source(self, entry: Map, table: str, raw: RawTable, where: str) -> Source:
        given = [key for key in _SOURCE_KEYS if key in entry]
        if len(given) != 1:
            raise MappingError(
                where, "layout-key", f"one of {', '.join(_SOURCE_KEYS)} must be there, and only one"
            )
        key = given[0]
        at = self._at(entry, key)
        if key == "constant":
            return ConstantText(self._word(entry, key))
        if key == "first_of":
            options = [
                self._column(value, table, raw, place) for value, place in self._entries(entry, key)
            ]
            return FirstColumn(tuple(options))
        if key == "lookup":
            return self._lookup(entry, raw)
        words = self._words(entry, key)
        if key == "number_within":
            for name in words:
                self._canonical(name, table, at)
            return Number(words)
        for header in words:
            self._known(header, raw.columns, at, raw.name)
        if key == "join":
            return JoinedColumns(words)
        header = self._word(entry, key)
        return FromColumn(header) if key == "column" else EachRow(header)

    def _lookup(self, entry: Map, raw: RawTable) -> Lookup:
        where = self._at(entry, "lookup")
        value = self._map(entry["lookup"], where, _LOOKUP_KEYS)
        other = self._raw_named(self._word(value, "table"), where)
        key, by, wanted = (self._word(value, name) for name in ("key", "by", "value"))
        for header in (key, wanted):
            self._known(header, other.columns, where, other.name)
        self._known(by, raw.columns, where, raw.name)
        if raw.member is None or other.member is None:
            raise MappingError(
                where, "layout-keys", f"{raw.name} and {other.name} must both name their member"
            )
        order = self._order(value, other)
        return Lookup(other.name, key, by, wanted, raw.member, other.member, order)

    def _order(self, entry: Map, raw: RawTable) -> tuple[RowOrder, ...]:
        if not isinstance(entry.get("order"), Seq):
            items = [(entry["order"], self._at(entry, "order"))] if "order" in entry else []
        else:
            items = list(self._entries(entry, "order"))
        found = []
        for item, where in items:
            if isinstance(item, Map):
                one = self._map(item, where, _ORDER_KEYS)
                order = RowOrder(
                    self._word(one, "column"), self._flag(one, "descending", default=False)
                )
            else:
                order = RowOrder(self._plain(item, "order", where))
            self._known(order.column, raw.columns, where, raw.name)
            found.append(order)
        return tuple(found)

    def _accept(self, entry: Map, raw: RawTable) -> Accept:
        where = self._at(entry, "accept")
        value = self._map(entry["accept"], where, ("pattern", "where"))
        pattern = self._word(value, "pattern") if "pattern" in value else None
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise MappingError(
                    where, "layout-value", f"not a regular expression: {error}"
                ) from None
        return Accept(pattern, self._conditions(value, "where", raw))

    def _conditions(self, entry: Map, key: str, raw: RawTable) -> tuple[Condition, ...]:
        found = []
        if isinstance(entry.get(key), Map):
            items = [(entry[key], self._at(entry, key))]
        else:
            items = list(self._entries(entry, key))
        for value, where in items:
            item = self._map(value, where, _CONDITION_KEYS)
            column = self._word(item, "column")
            differs = self._word(item, "differs_from") if "differs_from" in item else None
            for header in (column, differs):
                if header is not None:
                    self._known(header, raw.columns, where, raw.name)
            found.append(
                Condition(
                    column=column,
                    any_of=frozenset(word.lower() for word in self._words(item, "any_of")),
                    none_of=frozenset(word.lower() for word in self._words(item, "none_of")),
                    filled=self._flag(item, "filled", default=None),
                    differs_from=differs,
                )
            )
            if len(item) < 2:
                asks = ", ".join(_CONDITION_KEYS[1:])
                raise MappingError(where, "layout-key", f"a condition asks one of {asks}")
        return tuple(found)

    # --- single values

    def _at(self, entry: Map, key: str) -> str:
        return f"{self._file}:{entry.lines.get(key, entry.line)}"

    def _map(self, value: Any, where: str, keys: Iterable[str] | None = None) -> Map:
        if not isinstance(value, Map):
            raise MappingError(where, "layout-value", "key: value pairs must stand here")
        for key in value:
            if keys is not None and key not in keys:
                self._mistakes.add(
                    MappingError(
                        self._at(value, key),
                        "layout-key",
                        f"there is no key {key!r} here",
                        hint=_near(key, keys),
                    )
                )
        return value

    def _entries(self, entry: Map, key: str) -> Iterable[tuple[Any, str]]:
        value = entry.get(key)
        if value is None:
            return ()
        if not isinstance(value, Seq):
            raise MappingError(self._at(entry, key), "layout-value", f"{key} must be a list")
        return [
            (item, f"{self._file}:{line}") for item, line in zip(value, value.lines, strict=True)
        ]

    def _word(self, entry: Map, key: str) -> str:
        return self._plain(entry.get(key), key, self._at(entry, key))

    def _words(self, entry: Map, key: str) -> tuple[str, ...]:
        if isinstance(entry.get(key), Seq):
            return tuple(self._plain(value, key, at) for value, at in self._entries(entry, key))
        return (self._word(entry, key),) if key in entry else ()

    def _plain(self, value: Any, key: str, where: str) -> str:
        # A date written without quotes is read as one by YAML, and means its text.
        if isinstance(value, date):
            return value.isoformat()
        if not isinstance(value, str) or not value.strip():
            hint = 'put it in quotes: "01"' if isinstance(value, int | float) else ""
            raise MappingError(where, "layout-value", f"{key} must be text", hint=hint)
        return " ".join(value.split())

    def _flag(self, entry: Map, key: str, *, default: bool | None) -> Any:
        value = entry.get(key, default)
        if key in entry and not isinstance(value, bool):
            raise MappingError(self._at(entry, key), "layout-value", f"{key} must be true or false")
        return value

    def _delimiter(self, top: Map) -> str | None:
        if "delimiter" not in top:
            return None
        found = _DELIMITERS.get(str(top["delimiter"]))
        if found is None:
            known = " ".join(_DELIMITERS)
            raise MappingError(
                self._at(top, "delimiter"), "layout-value", f"delimiter must be one of {known}"
            )
        return found

    def _rule(self, entry: Map, key: str) -> str | None:
        if key not in entry:
            return None
        rule = self._word(entry, key)
        if rule not in rule_ids.NAMED_IN_LAYOUTS:
            known = ", ".join(rule_ids.NAMED_IN_LAYOUTS)
            raise MappingError(self._at(entry, key), "layout-rule", f"{key} must be one of {known}")
        return rule

    def _conflict(self, entry: Map) -> str:
        if "conflict" not in entry:
            return rule_ids.CONFLICT
        if self._word(entry, "conflict") not in _CONFLICTS:
            known = ", ".join(_CONFLICTS)
            raise MappingError(
                self._at(entry, "conflict"), "layout-value", f"conflict must be one of {known}"
            )
        return _CONFLICTS[entry["conflict"]]

    def _crosswalk(self, name: str, where: str) -> Crosswalk:
        if name not in self._crosswalks:
            hint = _near(name, self._crosswalks)
            raise MappingError(where, "layout-crosswalk", f"no crosswalk {name!r}", hint=hint)
        self._used[name] = self._crosswalks[name]
        return self._crosswalks[name]

    def _raw_named(self, name: str, where: str) -> RawTable:
        if name not in self._raw:
            if name in self._declared:
                self._mistakes.report()  # what is wrong with it has been told
            hint = _near(name, self._declared)
            raise MappingError(where, "layout-table", f"no raw file {name!r}", hint=hint)
        return self._raw[name]

    def _known(self, header: str, columns: Sequence[str], where: str, name: str) -> None:
        if header not in columns:
            hint = _near(header, columns)
            self._mistakes.add(
                MappingError(where, "layout-header", f"{name} has no column {header!r}", hint=hint)
            )

    def _canonical(self, name: str, table: str, where: str) -> None:
        if TABLES[table].column(name) is None:
            hint = _near(name, TABLES[table].names)
            self._mistakes.add(
                MappingError(where, "layout-column", f"{table} has no column {name!r}", hint=hint)
            )


def _near(word: str, words: Iterable[str]) -> str:
    near = get_close_matches(word, list(words), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
