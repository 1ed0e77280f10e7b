"""Compile mapping documents to plans.

Everything that doesn't depend on a row is resolved here: fragments and static tables are unrolled,
constants and settings inserted, names resolved, kinds and paths checked. Compiled plans can't fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, NoReturn

from etl.documents.models import read_as
from etl.documents.yaml_text import Map, Mark, Seq
from etl.errors import MappingError, Mistakes, nearest
from etl.mapping import plan as pl
from etl.mapping.expressions import (
    Absent,
    Condition,
    Constant,
    Expr,
    Kind,
    LoopIndex,
    Translation,
    concatenate,
    walk,
)
from etl.mapping.formulas import expr_of
from etl.mapping.headers import HEADER_IDS, MappingHeader, profile_canonical, skip_reasons
from etl.mapping.row_columns import LIST_ITEM, columns_of
from etl.mapping.scope import Binding, Library, Parameter, Row, Scope, StaticRow
from etl.mapping.static_values import possible_values
from etl.mapping.syntax import parse_condition, parse_leaf
from etl.model import logic
from etl.model.canonical_tables import TABLES, FieldType
from etl.model.crosswalks import DISPLAY, DISPLAYS
from etl.model.relations import Many, relations_of

_DIRECTIVES: Final = frozenset({"when", "include", "with", "for", "each", "emit"})
_FOR_SYNTAX: Final = re.compile(r"(\w+) in (\w+)\.(\w+)")
_EACH_SYNTAX: Final = re.compile(r"(\w+) in (\w+)")
_MAP_IDS: Final = re.compile(r"[\d ,]+")
_ADDITION_SUFFIX: Final = "+"
"""Suffix of an overlay's keys that add entries to a list."""


def compile_mapping(document: Any, name: str, library: Library, canonical: str) -> pl.Plan:
    """Compile one mapping to a plan.

    Args:
        document: the mapping file, overlays merged in.
        name: the mapping's name.
        library: constants, static tables, fragments, crosswalks, settings.
        canonical: pattern of `profile_canonical`.

    Raises:
        MappingError: every mistake, with file, line and path.
    """
    return _Compiler(library).compile_plan(document, name, canonical)


def merge_overlay(base: Any, overlay: Any) -> Any:
    """Merge a payer's overlay into a document.

    Maps merge key by key, null removes a key, `key+` adds entries to its list, and any other value
    replaces the previous one.
    """
    if not isinstance(base, Map) or not isinstance(overlay, Map):
        return overlay
    result = Map(base)
    result.mark, result.marks = overlay.mark, dict(base.marks)
    for key, value in overlay.items():
        if key.endswith(_ADDITION_SUFFIX):
            name, mark = key.removesuffix(_ADDITION_SUFFIX), overlay.marks[key]
            result[name] = _extend_list(base.get(name), value, mark)
            result.marks[name] = mark
            continue
        if value is None:
            result.pop(key, None)
            result.marks.pop(key, None)
            continue
        result[key] = merge_overlay(base.get(key), value)
        result.marks[key] = overlay.marks[key]
    return result


def _extend_list(base: Any, added: Any, mark: Mark) -> Seq:
    """Append entries to a list, or create it."""
    lists = [added] if base is None else [base, added]
    if not all(isinstance(sequence, Seq) for sequence in lists):
        _fail(mark, "map-shape", "`+` adds a list to a list, and one of them is none")
    extended = Seq(entry for sequence in lists for entry in sequence)
    extended.mark = added.mark
    extended.marks = [entry_mark for sequence in lists for entry_mark in sequence.marks]
    return extended


def _fail(
    mark: Mark, error_id: str, problem: str, near: tuple[str, Iterable[str]] | None = None
) -> NoReturn:
    hint = nearest(*near) if near else ""
    raise MappingError(f"{mark.file}:{mark.line}", error_id, problem, hint=hint)


def _cite_mark(mark: Mark, outer_mark: pl.CitedMark | None = None) -> pl.CitedMark:
    if mark.note and _MAP_IDS.fullmatch(mark.note):
        map_ids = tuple(int(number) for number in re.findall(r"\d+", mark.note))
    else:
        map_ids = outer_mark.map_ids if outer_mark else ()
    return pl.CitedMark(mark.file, mark.line, map_ids=map_ids)


@dataclass
class _Compiler:
    """Compiles one mapping.

    Attributes:
        library: the definitions that mappings share.
        levels: table of each level so far; each `for` adds one.
        mistakes: the mistakes so far.
    """

    library: Library
    levels: list[str] = field(default_factory=list)
    mistakes: Mistakes = field(default_factory=Mistakes)

    def compile_plan(self, document: Any, name: str, canonical: str) -> pl.Plan:
        header: MappingHeader | None = None
        with self.mistakes.collected():
            header = read_as(MappingHeader, document, name, HEADER_IDS)
        if not isinstance(document, Map):
            self.mistakes.report()
        resource, table = document.get("resource"), document.get("from")
        if not (isinstance(resource, str) and isinstance(table, str) and table in TABLES):
            self.mistakes.report()
        self.levels.append(table)
        scope = Scope(self.library, MappingProxyType({table: Row(0, table)}))
        body = document.get("emit")
        if not isinstance(body, Map) or next(iter(body), None) != "id":
            _fail(document.mark, "map-no-id", "emit is an object whose first member is id")
        search: dict[str, pl.ListNode] = {}
        for parameter in header.search if header else ():
            values, mark = document["search"][parameter], document["search"].marks[parameter]
            path = f"search.{parameter}"
            search[parameter] = self.compile_list(values, scope, _cite_mark(mark), path)
        body_mark = _cite_mark(document.marks["emit"])
        members = self.compile_members(body, scope, body_mark, resource)
        condition: Condition = True
        compartment = last_updated = None
        with self.mistakes.collected():
            condition = self.parse_when(document, scope)
        with self.mistakes.collected():
            compartment = self.parse_optional(document, "compartment", scope)
        with self.mistakes.collected():
            last_updated = self.parse_optional(document, "last_updated", scope)
        header = self.mistakes.require(header)
        map_ids, elements = skip_reasons(header.skip)
        (first, id_node), *other_members = members
        if not isinstance(id_node, pl.Leaf) or id_node.expr.nullable or first != "id":
            _fail(body.marks["id"], "map-no-id", "id can be absent; build it from required columns")
        return pl.Plan(
            name=name,
            resource=resource,
            profile=profile_canonical(header.profile, canonical),
            table=table,
            tables=tuple(self.levels),
            condition=condition,
            id=id_node.expr,
            compartment=compartment,
            last_updated=last_updated,
            body=pl.ObjectNode(tuple(other_members), body_mark),
            search=MappingProxyType(search),
            skipped_map_ids=map_ids,
            skipped_elements=elements,
            assured=MappingProxyType(header.assured),
        )

    def parse_optional(self, document: Map, key: str, scope: Scope) -> Expr | None:
        text = document.get(key)
        if not isinstance(text, str):
            return None
        expr = parse_leaf(text, scope, str(document.marks[key])).expr
        if key == "compartment" and expr.nullable:
            _fail(document.marks[key], "map-nullable", "compartment can be absent")
        return None if isinstance(expr, Absent) else expr

    def parse_when(self, document: Map, scope: Scope) -> Condition:
        if "when" not in document:
            return True
        text, mark = document["when"], document.marks["when"]
        if not isinstance(text, str):
            _fail(mark, "map-condition", "when is one expression between {{ and }}")
        return parse_condition(text, scope, str(mark))

    # -- nodes -------------------------------------------------------------------------------

    def compile_node(self, value: Any, scope: Scope, mark: pl.CitedMark, path: str) -> pl.Node:
        if isinstance(value, Map):
            return self.compile_object(value, scope, mark, path)
        if isinstance(value, Seq):
            return self.compile_list(value, scope, mark, path)
        return self.compile_leaf(value, scope, mark, path)

    def compile_leaf(
        self, value: Any, scope: Scope, mark: pl.CitedMark, path: str
    ) -> pl.JsonConstant | pl.Leaf:
        match value:
            case bool() | int():
                return pl.JsonConstant(json.dumps(value), mark)
            case str():
                parsed = parse_leaf(value, scope, str(mark))
            case None:
                _fail(mark, "map-null", f"{path}: null is no FHIR value; leave the element out")
            case _:
                _fail(mark, "map-leaf", f"{path}: write the value as text in quotes")
        match parsed.expr:
            case Constant(value=text, kind=kind):
                if not text:
                    _fail(mark, "map-empty", f"{path}: an empty text is no FHIR value")
                is_text = kind.json == "string"
                return pl.JsonConstant(
                    json.dumps(text, ensure_ascii=False) if is_text else text, mark
                )
            case expr:
                return pl.Leaf(expr, parsed.weak, mark)

    def compile_object(self, value: Map, scope: Scope, mark: pl.CitedMark, path: str) -> pl.Node:
        for word in ("for", "each", "emit"):
            if word in value:
                _fail(value.marks[word], "map-directive", f"{path}: {word} is for list entries")
        condition = self.parse_when(value, scope)
        members = self.compile_members(value, scope, mark, path)
        members += self.display_member(dict(members), mark)
        return self.add_guard(condition, pl.ObjectNode(tuple(members), mark), mark)

    def display_member(
        self, members: Mapping[str, pl.Node], mark: pl.CitedMark
    ) -> list[tuple[str, pl.Node]]:
        """Return the display of a coding as a member; no member for other objects."""
        crosswalks = self.library.crosswalks
        if DISPLAYS not in crosswalks or members.keys() & {DISPLAY, "value", "unit"}:
            return []
        if not members.keys() >= {"system", "code"}:
            return []
        system, code = expr_of(members["system"]), expr_of(members["code"])
        if system is None or code is None:
            return []
        systems = possible_values(system, crosswalks)
        if systems is not None:
            systems = frozenset(name for name in systems if f"{DISPLAYS}/{name}" in crosswalks)
        if systems == frozenset():
            return []
        if not isinstance(system, Constant):
            expr = Translation(
                concatenate([system, Constant("|"), code]), DISPLAYS, DISPLAY, Kind.TEXT
            )
        elif isinstance(code, Constant):
            text = crosswalks[f"{DISPLAYS}/{system.value}"].answer(code.value)
            fixed = pl.JsonConstant(json.dumps(text, ensure_ascii=False), mark)
            return [] if text is None else [(DISPLAY, fixed)]
        else:
            expr = Translation(code, f"{DISPLAYS}/{system.value}", DISPLAY, Kind.TEXT)
        return [(DISPLAY, pl.Leaf(expr, True, mark))]

    def add_guard(self, condition: Condition, node: pl.Node, mark: pl.CitedMark) -> pl.Node:
        if condition is True:
            return node
        if isinstance(node, pl.Guard):
            return pl.Guard(logic.all_of(condition, node.condition), node.node, mark)
        return pl.Guard(condition, node, mark)

    def compile_members(
        self, value: Map, scope: Scope, mark: pl.CitedMark, path: str
    ) -> list[tuple[str, pl.Node]]:
        result: dict[str, pl.Node] = {}
        if "include" in value:
            body, inner = self.open_fragment(value, scope, path)
            if not isinstance(body, Map):
                _fail(value.marks["include"], "map-fragment", f"{path}: this fragment is a list")
            if _DIRECTIVES & (set(body) - {"include", "with"}):
                _fail(body.mark, "map-fragment", "guard the place that includes the fragment")
            result |= dict(self.compile_members(body, inner, mark, path))
        for key, member in value.items():
            if key in _DIRECTIVES:
                continue
            member_mark = _cite_mark(value.marks[key], mark)
            with self.mistakes.collected():
                node = self.compile_node(member, scope, member_mark, f"{path}.{key}")
                if not _is_never_present(node):
                    result[key] = node
        return list(result.items())

    def compile_list(self, value: Seq, scope: Scope, mark: pl.CitedMark, path: str) -> pl.ListNode:
        entries: list[pl.Entry] = []
        for entry, own_mark in zip(value, value.marks, strict=True):
            with self.mistakes.collected():
                entries.extend(self.compile_entries(entry, scope, _cite_mark(own_mark, mark), path))
        return pl.ListNode(tuple(entry for entry in entries if not _is_never_present(entry)), mark)

    def compile_entries(
        self, value: Any, scope: Scope, mark: pl.CitedMark, path: str
    ) -> list[pl.Entry]:
        """Compile one entry of a list; it can become several."""
        if not isinstance(value, Map):
            return [self.compile_node(value, scope, mark, path)]
        if "each" in value:
            body = value.without("each")
            return [
                entry
                for name, row in self.static_rows(value, path)
                for entry in self.compile_entries(body, scope.bind(name, row), mark, path)
            ]
        if "for" in value:
            return [self.compile_loop(value, scope, mark, path)]
        if "include" in value:
            body, inner = self.open_fragment(value, scope, path)
            if isinstance(body, Seq):
                condition = self.parse_when(value, scope)
                spliced = self.compile_list(body, inner, mark, path).entries
                return [self.add_entry_guard(condition, entry) for entry in spliced]
        return [self.compile_entry(value, scope, mark, path)]

    def add_entry_guard(self, condition: Condition, entry: pl.Entry) -> pl.Entry:
        if not isinstance(entry, pl.Loop):
            return self.add_guard(condition, entry, entry.mark)
        return replace(entry, condition=logic.all_of(condition, entry.condition))

    def compile_entry(self, value: Map, scope: Scope, mark: pl.CitedMark, path: str) -> pl.Node:
        """Compile an entry that is not a loop: an object, or a scalar under `emit`."""
        if "emit" not in value:
            return self.compile_object(value, scope, mark, path)
        if set(value) - {"emit", "when"}:
            _fail(value.mark, "map-directive", f"{path}: beside emit only for, each and when")
        emit_mark = _cite_mark(value.marks["emit"], mark)
        node = self.compile_node(value["emit"], scope, emit_mark, path)
        return self.add_guard(self.parse_when(value, scope), node, mark)

    def static_rows(self, value: Map, path: str) -> list[tuple[str, StaticRow]]:
        mark, text = value.marks["each"], str(value["each"])
        match = _EACH_SYNTAX.fullmatch(text)
        if match is None:
            _fail(mark, "map-each", f"{path}: each is written 'row in table', not {text!r}")
        name, table = match.groups()
        tables = self.library.tables
        if table not in tables:
            _fail(mark, "map-each", f"{path}: no static table {table!r}", (table, tables))
        return [(name, row) for row in tables[table]]

    def compile_loop(self, value: Map, scope: Scope, mark: pl.CitedMark, path: str) -> pl.Loop:
        at, text = value.marks["for"], str(value["for"])
        match = _FOR_SYNTAX.fullmatch(text)
        if match is None:
            _fail(at, "map-for", f"{path}: for is written 'row in row.rows', not {text!r}")
        name, owner, rows = match.groups()
        parent = scope.names.get(owner)
        if not isinstance(parent, Row):
            _fail(at, "map-unknown-name", f"{path}: no row {owner!r}", (owner, scope.names))
        relation, table = self.find_relation(parent.table, rows, at, path)
        level = len(self.levels)
        self.levels.append(table)
        inner = scope.enter_loop(name, Row(level, table))
        condition = self.parse_when(value, inner)
        if any(isinstance(part, LoopIndex) and part.level == level for part in walk(condition)):
            _fail(at, "map-loop", "loop.index counts what `when` lets through; not usable in it")
        node = self.compile_loop_body(value.without("for", "when"), inner, mark, path)
        around = scope.loop or 0
        return pl.Loop(around, parent.level, level, relation, condition, node, mark)

    def compile_loop_body(self, value: Map, scope: Scope, mark: pl.CitedMark, path: str) -> pl.Node:
        """Compile the body of a loop: one entry, or several that are spliced."""
        if "include" in value:
            body, inner = self.open_fragment(value, scope, path)
            if isinstance(body, Seq):
                return pl.Splice(self.compile_list(body, inner, mark, path).entries, mark)
        if isinstance(value.get("emit"), Seq) and len(value) == 1:
            return pl.Splice(self.compile_list(value["emit"], scope, mark, path).entries, mark)
        return self.compile_entry(value, scope, mark, path)

    def find_relation(self, table: str, rows: str, mark: Mark, path: str) -> tuple[Many | str, str]:
        relation = relations_of(table).get(rows)
        if isinstance(relation, Many):
            return relation, relation.table
        column = columns_of(table).get(rows)
        if column is not None and column.type is FieldType.LIST:
            return rows, LIST_ITEM
        names = [key for key, to in relations_of(table).items() if isinstance(to, Many)]
        names += [key for key, to in columns_of(table).items() if to.type is FieldType.LIST]
        _fail(mark, "map-unknown-relation", f"{path}: {table} has no {rows!r}", (rows, names))

    # -- fragments ---------------------------------------------------------------------------

    def open_fragment(self, value: Map, scope: Scope, path: str) -> tuple[Any, Scope]:
        """Return the body of the fragment that a map includes, and the scope inside it."""
        name, mark = str(value["include"]), value.marks["include"]
        fragments = self.library.fragments
        if name not in fragments:
            _fail(mark, "map-fragment", f"{path}: no fragment {name!r}", (name, fragments))
        if name in scope.including:
            _fail(mark, "map-fragment", f"{path}: fragment {name!r} includes itself")
        inner = scope.enter_fragment(name)
        arguments = value.get("with", Map())
        if not isinstance(arguments, Map):
            _fail(mark, "map-fragment", f"{path}: with is a map of parameters")
        for parameter, argument in arguments.items():
            own_mark = _cite_mark(arguments.marks[parameter])
            inner = inner.bind(parameter, self.bind_argument(argument, scope, own_mark, path))
        return fragments[name], inner

    def bind_argument(self, value: Any, scope: Scope, mark: pl.CitedMark, path: str) -> Binding:
        if isinstance(value, str) and value in scope.names:
            return scope.names[value]
        if isinstance(value, Map | Seq):
            _fail(mark, "map-fragment", f"{path}: a parameter is a row or a leaf")
        node = self.compile_leaf(value, scope, mark, path)
        if isinstance(node, pl.Leaf):
            return Parameter(node, None)
        decoded = json.loads(node.json)
        return Parameter(node, decoded if isinstance(decoded, str) else None)


def _is_never_present(node: pl.Entry) -> bool:
    """Return whether a node is never present; the plan leaves such nodes out."""
    match node:
        case pl.Guard(condition=False) | pl.Loop(condition=False):
            return True
        case pl.Leaf(expr=Absent()):
            return True
        case pl.Guard(node=inner) | pl.Loop(node=inner):
            return _is_never_present(inner)
        case pl.ListNode(entries=()) | pl.Splice(entries=()) | pl.ObjectNode(members=()):
            return True
        case _:
            return False
