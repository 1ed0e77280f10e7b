"""Leaves of a mapping: text with Jinja2 expressions, into typed expressions.

This is the one place that knows jinja2. Its parser gives the grammar; nothing is ever run by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, NoReturn

import jinja2
from jinja2 import nodes

from etl.errors import MappingError
from etl.mapping.expressions import (
    Absent,
    AllOf,
    AnyOf,
    Before,
    Cased,
    Cast,
    Chosen,
    ColumnOf,
    Condition,
    Constant,
    Expr,
    FirstOf,
    IsPresent,
    Joined,
    Kind,
    Left,
    LogicalId,
    LoopIndex,
    Not,
    OneOf,
    Plus,
    ProviderReference,
    Same,
    Shaped,
    Translated,
    TranslatedAll,
    Truth,
)
from etl.mapping.plan import Fixed, Leaf
from etl.mapping.rows import One, columns_of, relations_of
from etl.mapping.scope import Parameter, Row, Scope, StaticRow
from etl.model.codes import SHAPES

_ENVIRONMENT: Final = jinja2.Environment(autoescape=False)  # noqa: S701 - parses, never renders
_CONSTANT: Final = re.compile(r"\$([A-Z][A-Z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A leaf: its expression, and whether it leaves the fate of its element to others."""

    expr: Expr
    weak: bool


def parse_leaf(text: str, scope: Scope, where: str) -> Parsed:
    """Return the expression that a leaf stands for; a leaf without `{{ }}` is a `Constant`.

    Raises:
        MappingError: `map-syntax` and every id that an expression can raise.
    """
    parts: list[Expr] = []
    weak = False
    for piece in _pieces(text, where):
        if isinstance(piece, nodes.TemplateData):
            parts.append(Constant(_with_constants(piece.data, scope, where)))
            continue
        expr, is_weak = _weakness(piece)
        weak = weak or is_weak
        parts.append(_Reader(scope, where).expression(expr))
    if not parts:
        return Parsed(Constant(""), weak=False)
    if len(parts) == 1:
        return Parsed(parts[0], weak)
    return Parsed(joined(parts), weak)


def parse_condition(text: str, scope: Scope, where: str) -> Condition:
    """Return the condition that a `when` stands for.

    Raises:
        MappingError: `map-condition` and every id that an expression can raise.
    """
    pieces = list(_pieces(text, where))
    if len(pieces) != 1 or isinstance(pieces[0], nodes.TemplateData):
        _fail(where, "map-condition", "a condition is one expression between {{ and }}")
    return _Reader(scope, where).condition(pieces[0])


def _pieces(text: str, where: str) -> Iterable[nodes.Expr]:
    try:
        template = _ENVIRONMENT.parse(text)
    except jinja2.TemplateSyntaxError as error:
        _fail(where, "map-syntax", f"cannot read {text!r}: {error.message}")
    for part in template.body:
        if not isinstance(part, nodes.Output):
            _fail(where, "map-syntax", "only expressions are allowed, no statements")
        yield from part.nodes


def _with_constants(text: str, scope: Scope, where: str) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        known = scope.library.constants
        if name not in known:
            _fail(where, "map-unknown-constant", f"no constant ${name}", near=(name, known))
        return known[name]

    return _CONSTANT.sub(value, text)


def _weakness(expr: nodes.Expr) -> tuple[nodes.Expr, bool]:
    if isinstance(expr, nodes.Filter) and expr.name == "weak" and expr.node is not None:
        return expr.node, True
    return expr, False


def _fail(
    where: str, error_id: str, what: str, *, near: tuple[str, Iterable[str]] | None = None
) -> NoReturn:
    hint = ""
    if near is not None:
        close = get_close_matches(near[0], list(near[1]), n=1)
        hint = f"did you mean {close[0]!r}?" if close else ""
    raise MappingError(where, error_id, what, hint=hint)


def joined(parts: Iterable[Expr]) -> Expr:
    """Return texts put together, with constants merged."""
    merged: list[Expr] = []
    for part in parts:
        for piece in part.parts if isinstance(part, Joined) else (part,):
            if isinstance(piece, Absent):
                return Absent()
            if merged and isinstance(piece, Constant) and isinstance(merged[-1], Constant):
                merged[-1] = Constant(merged[-1].value + piece.value)
            else:
                merged.append(piece)
    merged = [part for part in merged if part != Constant("")] or [Constant("")]
    if len(merged) == 1 and isinstance(merged[0], Constant):
        return merged[0]
    return Joined(tuple(merged))


def negation(condition: Condition) -> Condition:
    """Return the opposite of a condition."""
    match condition:
        case Truth(holds):
            return Truth(not holds)
        case Not(of):
            return of
        case _:
            return Not(condition)


def conjunction(parts: Iterable[Condition]) -> Condition:
    """Return a condition that holds where all of some hold."""
    flat: list[Condition] = []
    for part in parts:
        if part == Truth(holds=False):
            return part
        if part != Truth(holds=True):
            flat.extend(part.parts if isinstance(part, AllOf) else (part,))
    if not flat:
        return Truth(holds=True)
    return flat[0] if len(flat) == 1 else AllOf(tuple(flat))


def _disjunction(parts: Iterable[Condition]) -> Condition:
    flat: list[Condition] = []
    for part in parts:
        if part == Truth(holds=True):
            return part
        if part != Truth(holds=False):
            flat.extend(part.parts if isinstance(part, AnyOf) else (part,))
    if not flat:
        return Truth(holds=False)
    return flat[0] if len(flat) == 1 else AnyOf(tuple(flat))


def first_of(parts: Iterable[Expr]) -> Expr:
    """Return the first of several that is there."""
    kept: list[Expr] = []
    for part in parts:
        if isinstance(part, Absent):
            continue
        kept.extend(part.parts if isinstance(part, FirstOf) else (part,))
        if not part.nullable:
            break
    if not kept:
        return Absent()
    return kept[0] if len(kept) == 1 else FirstOf(tuple(kept), _common_kind(kept))


def _common_kind(parts: Iterable[Expr]) -> Kind:
    """Return the kind of a value that is one of several; text where they differ."""
    kinds = {part.kind for part in parts if not isinstance(part, Absent)}
    if len(kinds) == 1:
        return kinds.pop()
    return Kind.CODE if kinds <= {Kind.CODE, Kind.TEXT, Kind.FLAG} else Kind.TEXT


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the nodes of one leaf."""

    scope: Scope
    where: str

    def fail(
        self, error_id: str, what: str, near: tuple[str, Iterable[str]] | None = None
    ) -> NoReturn:
        _fail(self.where, error_id, what, near=near)

    def expression(self, node: nodes.Expr) -> Expr:
        match node:
            case nodes.Const(value=value):
                return self.constant(value)
            case nodes.Name(name=name):
                return self.name(name)
            case nodes.Getattr() | nodes.Getitem():
                return self.column(node)
            case nodes.Concat(nodes=parts):
                return joined(self.expression(part) for part in parts)
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

    def constant(self, value: object) -> Expr:
        match value:
            case bool():
                return Constant("true" if value else "false", Kind.BOOLEAN)
            case int():
                return Constant(str(value), Kind.INTEGER)
            case str():
                return Constant(_with_constants(value, self.scope, self.where))
            case _:
                self.fail("map-expression", "a constant is a text, an integer, true or false")

    def name(self, name: str) -> Expr:
        binding = self.scope.names.get(name)
        match binding:
            case Parameter(node=Fixed(), text=text):
                if text is None:
                    self.fail("map-parameter", f"{name} is no text")
                return Constant(text)
            case Parameter(node=Leaf(expr=expr)):
                return expr
            case Row() | StaticRow():
                self.fail("map-expression", f"{name} is a row; name one of its columns")
            case _:
                self.fail(
                    "map-unknown-name", f"no row or parameter {name!r}", (name, self.scope.names)
                )

    def column(self, node: nodes.Getattr | nodes.Getitem) -> Expr:
        path = self.path(node)
        first, *rest = path
        if first == "payer" and first not in self.scope.names:
            setting = ".".join(rest)
            known = self.scope.library.payer
            if setting not in known:
                self.fail("map-unknown-setting", f"no setting payer.{setting}", (setting, known))
            return Constant(known[setting]) if known[setting] else Absent()
        if first == "loop":
            if rest != ["index"] or self.scope.loop is None:
                self.fail("map-loop", "loop.index is all there is, and only inside a for")
            return LoopIndex(self.scope.loop)
        binding = self.scope.names.get(first)
        match binding:
            case StaticRow(cells=cells):
                value = cells.get(rest[0])
                return Absent() if value is None else Constant(value)
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
                if not isinstance(key, Constant):
                    self.fail("map-expression", "row[…] takes a constant or a static row's cell")
                return [*self.path(inner), key.value]
            case _:
                self.fail("map-expression", "a column is written row.column")

    def column_of(self, level: int, table: str, rest: list[str], name: str) -> Expr:
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
        found = columns[column]
        kind = Kind(found.type.value)
        given = self.scope.library.given.get((table, column))
        if given is not None:
            return Constant(given, kind)
        return ColumnOf(level, tuple(via), column, kind, not (found.required and certain))

    def chosen(self, test: nodes.Expr, then: nodes.Expr, otherwise: nodes.Expr | None) -> Expr:
        condition = self.condition(test)
        yes = self.expression(then)
        no = self.expression(otherwise) if otherwise is not None else Absent()
        if isinstance(condition, Truth):
            return yes if condition.holds else no
        return Chosen(condition, yes, no, _common_kind((yes, no)))

    def first_of(self, parts: list[Expr]) -> Expr:
        if not parts:
            self.fail("map-arguments", "first_of takes at least one argument")
        return first_of(parts)

    def filtered(self, of: Expr, name: str, args: list[nodes.Expr]) -> Expr:
        if name == "weak":
            self.fail("map-weak", "weak stands last, on the whole expression")
        build = _FILTERS.get(name)
        if build is None:
            self.fail("map-unknown-filter", f"no filter {name!r}", (name, [*_FILTERS, "weak"]))
        return build(self, of, [self.expression(arg) for arg in args])

    def condition(self, node: nodes.Expr) -> Condition:
        match node:
            case nodes.And(left=left, right=right):
                return conjunction((self.condition(left), self.condition(right)))
            case nodes.Or(left=left, right=right):
                return _disjunction((self.condition(left), self.condition(right)))
            case nodes.Not(node=inner):
                return negation(self.condition(inner))
            case nodes.Const(value=bool() as value):
                return Truth(value)
            case nodes.Test(node=inner, name="present"):
                return self.presence(inner)
            case nodes.Test(node=inner, name="absent"):
                return negation(self.presence(inner))
            case nodes.Compare(expr=left, ops=[operand]):
                return self.comparison(left, operand)
            case _:
                self.fail(
                    "map-condition",
                    "a condition is ==, !=, in, not in, is present, is absent, and, or, not",
                )

    def presence(self, node: nodes.Expr) -> Condition:
        of = self.expression(node)
        if isinstance(of, Absent):
            return Truth(holds=False)
        return IsPresent(of) if of.nullable else Truth(holds=True)

    def comparison(self, left_node: nodes.Expr, operand: nodes.Operand) -> Condition:
        left, negated = self.expression(left_node), operand.op in {"ne", "notin"}
        if isinstance(left, Absent):
            return Truth(holds=False)
        if operand.op in {"lt", "lteq", "gt", "gteq"}:
            return self.order(left, operand.op, self.expression(operand.expr))
        match operand.op, operand.expr:
            case (("in" | "notin"), nodes.List(items=items) | nodes.Tuple(items=items)):
                values = [self.expression(item) for item in items]
            case (("eq" | "ne"), other):
                right = self.expression(other)
                if isinstance(right, Absent):
                    return Truth(holds=False)
                if not isinstance(right, Constant):
                    return Same(left, right, negated)
                values = [right]
            case _:
                self.fail("map-condition", "compare with ==, != or in ['…', '…']")
        if not all(isinstance(value, Constant) for value in values):
            self.fail("map-condition", "what follows in is a list of constants")
        texts = tuple(value.value for value in values if isinstance(value, Constant))
        if isinstance(left, Constant):
            return Truth((left.value in texts) != negated)
        return OneOf(left, texts, negated)

    def order(self, left: Expr, op: str, right: Expr) -> Condition:
        if isinstance(right, Absent):
            return Truth(holds=False)
        for side in (left, right):
            if side.kind is not Kind.DATE and not isinstance(side, Constant):
                self.fail("map-kind", f"<, <=, > and >= are for dates, not for {side.kind.value}")
        if op in {"gt", "gteq"}:
            left, right = right, left
        return Before(left, right, or_same=op.endswith("eq"))


_Build = Callable[[_Reader, Expr, list[Expr]], Expr]


def _cast(to: Kind, *allowed: Kind) -> _Build:
    def build(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
        if args:
            reader.fail("map-arguments", f"{to.value} takes no argument")
        if isinstance(of, Absent):
            return of
        if allowed and of.kind not in allowed:
            names = " or ".join(kind.value for kind in allowed)
            reader.fail("map-kind", f"{to.value} is for {names}, not for {of.kind.value}")
        if of.kind is to:
            return of
        if isinstance(of, Constant):
            return Constant(of.value, to)
        return Cast(of, to)

    return build


def _default(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    if len(args) != 1:
        reader.fail("map-arguments", "default takes one argument")
    return first_of((of, args[0]))


def _plus(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    if of.kind is not Kind.INTEGER:
        reader.fail("map-kind", f"plus is for integer, not for {of.kind.value}")
    match args:
        case [Constant(value=amount, kind=Kind.INTEGER)]:
            return Plus(of, int(amount))
        case _:
            reader.fail("map-arguments", "plus takes an integer")


def _constants(reader: _Reader, name: str, args: list[Expr], most: int) -> list[str]:
    texts = [arg.value for arg in args if isinstance(arg, Constant)]
    if not texts or len(texts) != len(args) or len(texts) > most:
        reader.fail("map-arguments", f"{name} takes 1 to {most} constant texts")
    return texts


def _translate(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    name, *columns = _constants(reader, "translate", args, 2)
    crosswalks = reader.scope.library.crosswalks
    if name not in crosswalks:
        reader.fail("map-unknown-crosswalk", f"no crosswalk {name!r}", (name, crosswalks))
    crosswalk = crosswalks[name]
    column = columns[0] if columns else crosswalk.columns[0]
    if column not in crosswalk.columns:
        reader.fail(
            "map-unknown-crosswalk",
            f"crosswalk {name} has no column {column!r}",
            (column, crosswalk.columns),
        )
    if isinstance(of, Constant):
        answer = crosswalk.answer(of.value, column)
        return Absent() if answer is None else Constant(answer, Kind.CODE)
    return of if isinstance(of, Absent) else Translated(of, name, column)


def _translate_all(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    if len(args) != 3:
        reader.fail("map-arguments", "translate_all takes a crosswalk, a column and a separator")
    answer = _translate(reader, of, args[:2])
    if isinstance(answer, Constant | Absent):
        return answer
    (separator,) = _constants(reader, "translate_all", args[2:], 1)
    if not isinstance(answer, Translated):
        raise AssertionError(answer)
    return TranslatedAll(of, answer.crosswalk, answer.column, separator)


def _shape(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    (shape,) = _constants(reader, "shape", args, 1)
    if shape not in SHAPES:
        reader.fail("map-arguments", f"no shape {shape!r}", (shape, SHAPES))
    return of if isinstance(of, Absent) else Shaped(of, shape)


def _left(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    match args:
        case [Constant(value=length, kind=Kind.INTEGER)] if int(length) > 0:
            return of if isinstance(of, Absent) else Left(of, int(length))
        case _:
            reader.fail("map-arguments", "left takes a number of characters")


def _logical_id(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    (resource,) = _constants(reader, "logical_id", args, 1)
    return of if isinstance(of, Absent) else LogicalId(of, resource)


def _provider(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
    resource, *only = _constants(reader, "provider", args, 2)
    if only not in ([], ["only"]):
        reader.fail("map-arguments", "provider takes a type, and 'only'")
    match resource:
        case "Organization" | "Practitioner":
            return of if isinstance(of, Absent) else ProviderReference(of, resource, bool(only))
        case _:
            reader.fail("map-arguments", "a provider is an 'Organization' or a 'Practitioner'")


def _case(case: Any) -> _Build:
    def build(reader: _Reader, of: Expr, args: list[Expr]) -> Expr:
        if args:
            reader.fail("map-arguments", f"{case} takes no argument")
        return of if isinstance(of, Absent) else Cased(of, case)

    return build


_TEXTS: Final = (Kind.TEXT, Kind.CODE, Kind.FLAG, Kind.LIST)

_FILTERS: Final[dict[str, _Build]] = {
    "text": _cast(Kind.TEXT),
    "code": _cast(Kind.CODE, *_TEXTS),
    "money": _cast(Kind.MONEY, Kind.MONEY),
    "decimal": _cast(Kind.DECIMAL, Kind.DECIMAL, Kind.INTEGER),
    "integer": _cast(Kind.INTEGER, Kind.INTEGER),
    "plus": _plus,
    "date": _cast(Kind.DATE, Kind.DATE),
    "datetime": _cast(Kind.DATETIME, Kind.DATE, Kind.TIMESTAMP),
    "instant": _cast(Kind.INSTANT, Kind.DATE, Kind.TIMESTAMP),
    "boolean": _cast(Kind.BOOLEAN, Kind.FLAG, Kind.BOOLEAN),
    "default": _default,
    "lower": _case("lower"),
    "upper": _case("upper"),
    "translate": _translate,
    "translate_all": _translate_all,
    "shape": _shape,
    "left": _left,
    "logical_id": _logical_id,
    "provider": _provider,
}

FILTERS: Final = (*_FILTERS, "weak")
"""Names of all filters; a test holds docs/mapping.md to them."""
