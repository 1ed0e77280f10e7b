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
from etl.mapping.filters import apply_filter
from etl.mapping.plan import JsonConstant, Leaf
from etl.mapping.row_columns import columns_of
from etl.mapping.scope import Parameter, Row, Scope, StaticRow
from etl.model import logic
from etl.model.relations import One, relations_of

_ENVIRONMENT: Final = jinja2.Environment(autoescape=False)  # noqa: S701 - parses, never renders
_CONSTANT: Final = re.compile(r"\$([A-Z][A-Z0-9_]*)")


@dataclass(frozen=True, slots=True)
class ParsedLeaf:
    """The expression of a leaf; `weak` if it doesn't keep its element alive."""

    expr: ex.Expr
    weak: bool


def parse_leaf(text: str, scope: Scope, where: str) -> ParsedLeaf:
    """Parse the text of a leaf; without `{{ }}` it becomes a `Constant`.

    Raises:
        MappingError: `map-syntax` and every id that an expression can raise.
    """
    parts: list[ex.Expr] = []
    weak = False
    for node in _parse_nodes(text, where):
        if isinstance(node, nodes.TemplateData):
            parts.append(ex.Constant(_insert_constants(node.data, scope, where)))
            continue
        if isinstance(node, nodes.Filter) and node.name == "weak" and node.node is not None:
            weak, node = True, node.node
        parts.append(_LeafReader(scope, where).read_expression(node))
    if not parts:
        return ParsedLeaf(ex.Constant(""), weak=False)
    if len(parts) == 1:
        return ParsedLeaf(parts[0], weak)
    return ParsedLeaf(ex.concatenate(parts), weak)


def parse_condition(text: str, scope: Scope, where: str) -> ex.Condition:
    """Parse the condition of a `when`.

    Raises:
        MappingError: `map-condition` and every id that an expression can raise.
    """
    parsed = list(_parse_nodes(text, where))
    if len(parsed) != 1 or isinstance(parsed[0], nodes.TemplateData):
        _fail(where, "map-condition", "a condition is one expression between {{ and }}")
    return _LeafReader(scope, where).read_condition(parsed[0])


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
    def constant_text(match: re.Match[str]) -> str:
        name = match.group(1)
        constants = scope.library.constants
        if name not in constants:
            _fail(where, "map-unknown-constant", f"no constant ${name}", near=(name, constants))
        return constants[name]

    return _CONSTANT.sub(constant_text, text)


def _fail(
    where: str, error_id: str, problem: str, *, near: tuple[str, Iterable[str]] | None = None
) -> NoReturn:
    raise MappingError(where, error_id, problem, hint=nearest(*near) if near else "")


@dataclass(frozen=True, slots=True)
class _LeafReader:
    """Reads the nodes of one leaf."""

    scope: Scope
    where: str

    def fail(
        self, error_id: str, problem: str, near: tuple[str, Iterable[str]] | None = None
    ) -> NoReturn:
        _fail(self.where, error_id, problem, near=near)

    def read_expression(self, node: nodes.Expr) -> ex.Expr:
        match node:
            case nodes.Const(value=value):
                return self.read_constant(value)
            case nodes.Name(name=name):
                return self.read_name(name)
            case nodes.Getattr() | nodes.Getitem():
                return self.read_column(node)
            case nodes.Concat(nodes=parts):
                return ex.concatenate(self.read_expression(part) for part in parts)
            case nodes.CondExpr(test=test, expr1=then, expr2=otherwise):
                return self.read_choice(test, then, otherwise)
            case nodes.Call(node=nodes.Name(name="first_of"), args=args):
                if not args:
                    self.fail("map-arguments", "first_of takes at least one argument")
                return ex.first_of(self.read_expression(arg) for arg in args)
            case nodes.Filter(node=inner, name=name, args=args) if inner is not None:
                return self.read_filter(self.read_expression(inner), name, args)
            case _:
                self.fail(
                    "map-expression",
                    f"{type(node).__name__} is not part of the language, see docs/mapping.md",
                )

    def read_constant(self, value: object) -> ex.Expr:
        match value:
            case bool():
                return ex.Constant("true" if value else "false", ex.Kind.BOOLEAN)
            case int():
                return ex.Constant(str(value), ex.Kind.INTEGER)
            case str():
                return ex.Constant(_insert_constants(value, self.scope, self.where))
            case _:
                self.fail("map-expression", "a constant is a text, an integer, true or false")

    def read_name(self, name: str) -> ex.Expr:
        binding = self.scope.names.get(name)
        match binding:
            case Parameter(node=JsonConstant(), text=text):
                if text is None:
                    self.fail("map-parameter", f"{name} is no text")
                return ex.Constant(text)
            case Parameter(node=Leaf(expr=expr)):
                return expr
            case Row() | StaticRow():
                self.fail("map-expression", f"{name} is a row; name one of its columns")
            case _:
                message = f"no row or parameter {name!r}"
                self.fail("map-unknown-name", message, (name, self.scope.names))

    def read_column(self, node: nodes.Getattr | nodes.Getitem) -> ex.Expr:
        path = self.column_path(node)
        first, *steps = path
        if first == "payer" and first not in self.scope.names:
            setting = ".".join(steps)
            settings = self.scope.library.payer
            if setting not in settings:
                self.fail("map-unknown-setting", f"no setting payer.{setting}", (setting, settings))
            return ex.Constant(settings[setting]) if settings[setting] else ex.Absent()
        if first == "loop":
            if steps != ["index"] or self.scope.loop is None:
                self.fail("map-loop", "loop.index is all there is, and only inside a for")
            return ex.LoopIndex(self.scope.loop)
        binding = self.scope.names.get(first)
        match binding:
            case StaticRow(cells=cells):
                value = cells.get(steps[0])
                return ex.Absent() if value is None else ex.Constant(value)
            case Row(level=level, table=table):
                return self.resolve_column(level, table, steps, ".".join(path))
            case _:
                names = [*self.scope.names, "payer", "loop"]
                self.fail("map-unknown-name", f"no row {first!r}", (first, names))

    def column_path(self, node: nodes.Expr) -> list[str]:
        match node:
            case nodes.Name(name=name):
                return [name]
            case nodes.Getattr(node=inner, attr=attr):
                return [*self.column_path(inner), attr]
            case nodes.Getitem(node=inner, arg=arg):
                key = self.read_expression(arg)
                if not isinstance(key, ex.Constant):
                    self.fail("map-expression", "row[…] takes a constant or a static row's cell")
                return [*self.column_path(inner), key.value]
            case _:
                self.fail("map-expression", "a column is written row.column")

    def resolve_column(self, level: int, table: str, steps: list[str], name: str) -> ex.Expr:
        *via, column = steps
        is_certain = True
        for step in via:
            relation = relations_of(table).get(step)
            if not isinstance(relation, One):
                names = [key for key, to in relations_of(table).items() if isinstance(to, One)]
                message = f"{name}: {table} has no one {step!r}"
                self.fail("map-unknown-relation", message, (step, names))
            is_certain = is_certain and relation.certain
            table = relation.table
        columns = columns_of(table)
        if column not in columns:
            self.fail("map-unknown-column", f"{name}: {table} has no {column!r}", (column, columns))
        kind = ex.Kind(columns[column].type.value)
        constant = self.scope.library.column_constants.get((table, column))
        if constant is not None:
            return ex.Constant(constant, kind)
        nullable = not (columns[column].required and is_certain)
        return ex.ColumnOf(level, tuple(via), column, kind, nullable)

    def read_choice(
        self, test: nodes.Expr, then: nodes.Expr, otherwise: nodes.Expr | None
    ) -> ex.Expr:
        condition = self.read_condition(test)
        yes = self.read_expression(then)
        no = self.read_expression(otherwise) if otherwise is not None else ex.Absent()
        if isinstance(condition, bool):
            return yes if condition else no
        return ex.Choice(condition, yes, no, ex.common_kind((yes, no)))

    def read_filter(self, value: ex.Expr, name: str, args: list[nodes.Expr]) -> ex.Expr:
        if name == "weak":
            self.fail("map-weak", "weak stands last, on the whole expression")
        return apply_filter(self, name, value, [self.read_expression(arg) for arg in args])

    def read_condition(self, node: nodes.Expr) -> ex.Condition:
        match node:
            case nodes.And(left=left, right=right):
                return logic.all_of(self.read_condition(left), self.read_condition(right))
            case nodes.Or(left=left, right=right):
                return logic.any_of(self.read_condition(left), self.read_condition(right))
            case nodes.Not(node=inner):
                return logic.negate(self.read_condition(inner))
            case nodes.Const(value=bool() as value):
                return value
            case nodes.Test(node=inner, name="present"):
                return self.read_presence(inner)
            case nodes.Test(node=inner, name="absent"):
                return logic.negate(self.read_presence(inner))
            case nodes.Compare(expr=left, ops=[operand]):
                return self.read_comparison(left, operand)
            case _:
                self.fail(
                    "map-condition",
                    "a condition is ==, !=, in, not in, is present, is absent, and, or, not",
                )

    def read_presence(self, node: nodes.Expr) -> ex.Condition:
        inner = self.read_expression(node)
        if isinstance(inner, ex.Absent):
            return False
        return ex.IsPresent(inner) if inner.nullable else True

    def read_comparison(self, left_node: nodes.Expr, operand: nodes.Operand) -> ex.Condition:
        left, negated = self.read_expression(left_node), operand.op in {"ne", "notin"}
        if isinstance(left, ex.Absent):
            return False
        if operand.op in {"lt", "lteq", "gt", "gteq"}:
            return self.read_order(left, operand.op, self.read_expression(operand.expr))
        match operand.op, operand.expr:
            case (("in" | "notin"), nodes.List(items=items) | nodes.Tuple(items=items)):
                values = [self.read_expression(item) for item in items]
            case (("eq" | "ne"), other):
                right = self.read_expression(other)
                if isinstance(right, ex.Absent):
                    return False
                if not isinstance(right, ex.Constant):
                    return ex.Equality(left, right, negated)
                values = [right]
            case _:
                self.fail("map-condition", "compare with ==, != or in ['…', '…']")
        texts = tuple(value.value for value in values if isinstance(value, ex.Constant))
        if len(texts) != len(values):
            self.fail("map-condition", "what follows in is a list of constants")
        if isinstance(left, ex.Constant):
            return (left.value in texts) != negated
        return ex.OneOf(left, texts, negated)

    def read_order(self, left: ex.Expr, op: str, right: ex.Expr) -> ex.Condition:
        if isinstance(right, ex.Absent):
            return False
        for side in (left, right):
            if side.kind is not ex.Kind.DATE and not isinstance(side, ex.Constant):
                self.fail("map-kind", f"<, <=, > and >= are for dates, not for {side.kind.value}")
        if op in {"gt", "gteq"}:
            left, right = right, left
        return ex.DateOrder(left, right, or_same=op.endswith("eq"))
