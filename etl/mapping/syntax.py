"""Parse leaves of a mapping: texts with Jinja2 expressions become typed expressions.

Only this module of `etl.mapping` uses jinja2. Its parser gives the grammar; nothing is rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

import jinja2
from jinja2 import nodes

from etl.errors import MappingError, nearest
from etl.mapping import expressions as ex
from etl.mapping.filters import FILTERS, NAMES
from etl.mapping.plan import Fixed, Leaf
from etl.mapping.rows import columns_of
from etl.mapping.scope import Parameter, Row, Scope, StaticRow
from etl.model import logic
from etl.model.relations import One, relations_of

_ENVIRONMENT: Final = jinja2.Environment(autoescape=False)  # noqa: S701 - parses, never renders
_CONSTANT: Final = re.compile(r"\$([A-Z][A-Z0-9_]*)")


@dataclass(frozen=True, slots=True)
class ParsedLeaf:
    """A leaf: its expression, and whether only others decide if its element is there."""

    expr: ex.Expr
    weak: bool


def parse_leaf(text: str, scope: Scope, where: str) -> ParsedLeaf:
    """Parse a leaf; a leaf without `{{ }}` becomes a `Constant`.

    Raises:
        MappingError: `map-syntax` and every id that an expression can raise.
    """
    parts: list[ex.Expr] = []
    weak = False
    for piece in _parse_nodes(text, where):
        if isinstance(piece, nodes.TemplateData):
            parts.append(ex.Constant(_insert_constants(piece.data, scope, where)))
            continue
        expr, is_weak = _split_weak(piece)
        weak = weak or is_weak
        parts.append(_LeafReader(scope, where).expression(expr))
    if not parts:
        return ParsedLeaf(ex.Constant(""), weak=False)
    if len(parts) == 1:
        return ParsedLeaf(parts[0], weak)
    return ParsedLeaf(ex.join_texts(parts), weak)


def parse_condition(text: str, scope: Scope, where: str) -> ex.Condition:
    """Parse the condition of a `when`.

    Raises:
        MappingError: `map-condition` and every id that an expression can raise.
    """
    pieces = list(_parse_nodes(text, where))
    if len(pieces) != 1 or isinstance(pieces[0], nodes.TemplateData):
        _fail(where, "map-condition", "a condition is one expression between {{ and }}")
    return _LeafReader(scope, where).condition(pieces[0])


def _parse_nodes(text: str, where: str) -> Iterable[nodes.Expr]:
    try:
        parts = _parse_jinja(text)
    except jinja2.TemplateSyntaxError as error:
        _fail(where, "map-syntax", f"cannot read {text!r}: {error.message}")
    for part in parts:
        if not isinstance(part, nodes.Output):
            _fail(where, "map-syntax", "only expressions are allowed, no statements")
        yield from part.nodes


@lru_cache(maxsize=4096)
def _parse_jinja(text: str) -> tuple[nodes.Node, ...]:
    """Parse a text with Jinja's parser; callers must not change the nodes.

    Profiles share their fragments, so four of five texts are in the cache.
    """
    return tuple(_ENVIRONMENT.parse(text).body)


def _insert_constants(text: str, scope: Scope, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        constants = scope.library.constants
        if name not in constants:
            _fail(where, "map-unknown-constant", f"no constant ${name}", near=(name, constants))
        return constants[name]

    return _CONSTANT.sub(value, text)


def _split_weak(expr: nodes.Expr) -> tuple[nodes.Expr, bool]:
    if isinstance(expr, nodes.Filter) and expr.name == "weak" and expr.node is not None:
        return expr.node, True
    return expr, False


def _fail(
    where: str, error_id: str, what: str, *, near: tuple[str, Iterable[str]] | None = None
) -> NoReturn:
    raise MappingError(where, error_id, what, hint=nearest(*near) if near else "")


@dataclass(frozen=True, slots=True)
class _LeafReader:
    """Reads the nodes of one leaf."""

    scope: Scope
    where: str

    def fail(
        self, error_id: str, what: str, near: tuple[str, Iterable[str]] | None = None
    ) -> NoReturn:
        _fail(self.where, error_id, what, near=near)

    def expression(self, node: nodes.Expr) -> ex.Expr:
        match node:
            case nodes.Const(value=value):
                return self.constant(value)
            case nodes.Name(name=name):
                return self.name(name)
            case nodes.Getattr() | nodes.Getitem():
                return self.column(node)
            case nodes.Concat(nodes=parts):
                return ex.join_texts(self.expression(part) for part in parts)
            case nodes.CondExpr(test=test, expr1=then, expr2=otherwise):
                return self.chosen(test, then, otherwise)
            case nodes.Call(node=nodes.Name(name="first_of"), args=args):
                return self.first_of([self.expression(arg) for arg in args])
            case nodes.Filter(node=inner, name=name, args=args) if inner is not None:
                return self.filtered(self.expression(inner), name, args)
            case _:
                self.fail(
                    "map-expression",
                    f"{type(node).__name__} is not part of the language, see docs/mapping.md",
                )

    def constant(self, value: object) -> ex.Expr:
        match value:
            case bool():
                return ex.Constant("true" if value else "false", ex.Kind.BOOLEAN)
            case int():
                return ex.Constant(str(value), ex.Kind.INTEGER)
            case str():
                return ex.Constant(_insert_constants(value, self.scope, self.where))
            case _:
                self.fail("map-expression", "a constant is a text, an integer, true or false")

    def name(self, name: str) -> ex.Expr:
        binding = self.scope.names.get(name)
        match binding:
            case Parameter(node=Fixed(), text=text):
                if text is None:
                    self.fail("map-parameter", f"{name} is no text")
                return ex.Constant(text)
            case Parameter(node=Leaf(expr=expr)):
                return expr
            case Row() | StaticRow():
                self.fail("map-expression", f"{name} is a row; name one of its columns")
            case _:
                self.fail(
                    "map-unknown-name", f"no row or parameter {name!r}", (name, self.scope.names)
                )

    def column(self, node: nodes.Getattr | nodes.Getitem) -> ex.Expr:
        path = self.path(node)
        first, *rest = path
        if first == "payer" and first not in self.scope.names:
            setting = ".".join(rest)
            settings = self.scope.library.payer
            if setting not in settings:
                self.fail("map-unknown-setting", f"no setting payer.{setting}", (setting, settings))
            return ex.Constant(settings[setting]) if settings[setting] else ex.Absent()
        if first == "loop":
            if rest != ["index"] or self.scope.loop is None:
                self.fail("map-loop", "loop.index is all there is, and only inside a for")
            return ex.LoopIndex(self.scope.loop)
        binding = self.scope.names.get(first)
        match binding:
            case StaticRow(cells=cells):
                value = cells.get(rest[0])
                return ex.Absent() if value is None else ex.Constant(value)
            case Row(level=level, table=table):
                return self.column_of(level, table, rest, ".".join(path))
            case _:
                names = [*self.scope.names, "payer", "loop"]
                self.fail("map-unknown-name", f"no row {first!r}", (first, names))

    def path(self, node: nodes.Expr) -> list[str]:
        match node:
            case nodes.Name(name=name):
                return [name]
            case nodes.Getattr(node=inner, attr=attr):
                return [*self.path(inner), attr]
            case nodes.Getitem(node=inner, arg=arg):
                key = self.expression(arg)
                if not isinstance(key, ex.Constant):
                    self.fail("map-expression", "row[…] takes a constant or a static row's cell")
                return [*self.path(inner), key.value]
            case _:
                self.fail("map-expression", "a column is written row.column")

    def column_of(self, level: int, table: str, rest: list[str], name: str) -> ex.Expr:
        *via, column = rest
        certain = True
        for step in via:
            relation = relations_of(table).get(step)
            if not isinstance(relation, One):
                ones = [key for key, to in relations_of(table).items() if isinstance(to, One)]
                self.fail(
                    "map-unknown-relation", f"{name}: {table} has no one {step!r}", (step, ones)
                )
            certain = certain and relation.certain
            table = relation.table
        columns = columns_of(table)
        if column not in columns:
            self.fail("map-unknown-column", f"{name}: {table} has no {column!r}", (column, columns))
        column_found = columns[column]
        kind = ex.Kind(column_found.type.value)
        given = self.scope.library.given.get((table, column))
        if given is not None:
            return ex.Constant(given, kind)
        return ex.ColumnOf(level, tuple(via), column, kind, not (column_found.required and certain))

    def chosen(self, test: nodes.Expr, then: nodes.Expr, otherwise: nodes.Expr | None) -> ex.Expr:
        condition = self.condition(test)
        yes = self.expression(then)
        no = self.expression(otherwise) if otherwise is not None else ex.Absent()
        if isinstance(condition, bool):
            return yes if condition else no
        return ex.Chosen(condition, yes, no, ex.common_kind((yes, no)))

    def first_of(self, parts: list[ex.Expr]) -> ex.Expr:
        if not parts:
            self.fail("map-arguments", "first_of takes at least one argument")
        return ex.first_of(parts)

    def filtered(self, value: ex.Expr, name: str, args: list[nodes.Expr]) -> ex.Expr:
        if name == "weak":
            self.fail("map-weak", "weak stands last, on the whole expression")
        build = FILTERS.get(name)
        if build is None:
            self.fail("map-unknown-filter", f"no filter {name!r}", (name, NAMES))
        return build(self, value, [self.expression(arg) for arg in args])

    def condition(self, node: nodes.Expr) -> ex.Condition:
        match node:
            case nodes.And(left=left, right=right):
                return logic.all_of(self.condition(left), self.condition(right))
            case nodes.Or(left=left, right=right):
                return logic.any_of(self.condition(left), self.condition(right))
            case nodes.Not(node=inner):
                return logic.negate(self.condition(inner))
            case nodes.Const(value=bool() as value):
                return value
            case nodes.Test(node=inner, name="present"):
                return self.presence(inner)
            case nodes.Test(node=inner, name="absent"):
                return logic.negate(self.presence(inner))
            case nodes.Compare(expr=left, ops=[operand]):
                return self.comparison(left, operand)
            case _:
                self.fail(
                    "map-condition",
                    "a condition is ==, !=, in, not in, is present, is absent, and, or, not",
                )

    def presence(self, node: nodes.Expr) -> ex.Condition:
        inner = self.expression(node)
        if isinstance(inner, ex.Absent):
            return False
        return ex.IsPresent(inner) if inner.nullable else True

    def comparison(self, left_node: nodes.Expr, operand: nodes.Operand) -> ex.Condition:
        left, negated = self.expression(left_node), operand.op in {"ne", "notin"}
        if isinstance(left, ex.Absent):
            return False
        if operand.op in {"lt", "lteq", "gt", "gteq"}:
            return self.order(left, operand.op, self.expression(operand.expr))
        match operand.op, operand.expr:
            case (("in" | "notin"), nodes.List(items=items) | nodes.Tuple(items=items)):
                values = [self.expression(item) for item in items]
            case (("eq" | "ne"), other):
                right = self.expression(other)
                if isinstance(right, ex.Absent):
                    return False
                if not isinstance(right, ex.Constant):
                    return ex.Same(left, right, negated)
                values = [right]
            case _:
                self.fail("map-condition", "compare with ==, != or in ['…', '…']")
        if not all(isinstance(value, ex.Constant) for value in values):
            self.fail("map-condition", "what follows in is a list of constants")
        texts = tuple(value.value for value in values if isinstance(value, ex.Constant))
        if isinstance(left, ex.Constant):
            return (left.value in texts) != negated
        return ex.OneOf(left, texts, negated)

    def order(self, left: ex.Expr, op: str, right: ex.Expr) -> ex.Condition:
        if isinstance(right, ex.Absent):
            return False
        for side in (left, right):
            if side.kind is not ex.Kind.DATE and not isinstance(side, ex.Constant):
                self.fail("map-kind", f"<, <=, > and >= are for dates, not for {side.kind.value}")
        if op in {"gt", "gteq"}:
            left, right = right, left
        return ex.Before(left, right, or_same=op.endswith("eq"))
