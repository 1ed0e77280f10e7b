"""The filters of the mapping language: what each may stand on, and the expression that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping.scope import Scope
from etl.model.code_shapes import SHAPES


class Reader(Protocol):
    """The reader of the leaf that a filter stands in."""

    @property
    def scope(self) -> Scope:
        """The scope of the leaf."""

    def fail(
        self, error_id: str, what: str, near: tuple[str, Iterable[str]] | None = None
    ) -> NoReturn:
        """Raise the error with the place of the leaf.

        Raises:
            MappingError: always.
        """


Build: TypeAlias = Callable[[Reader, ex.Expr, list[ex.Expr]], ex.Expr]


def _cast(to: ex.Kind, *allowed: ex.Kind) -> Build:
    def build(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
        if args:
            reader.fail("map-arguments", f"{to.value} takes no argument")
        if isinstance(value, ex.Absent):
            return value
        if allowed and value.kind not in allowed:
            names = " or ".join(kind.value for kind in allowed)
            reader.fail("map-kind", f"{to.value} is for {names}, not for {value.kind.value}")
        if value.kind is to:
            return value
        if isinstance(value, ex.Constant):
            return ex.Constant(value.value, to)
        return ex.Cast(value, to)

    return build


_of_days: Final = _cast(ex.Kind.DATETIME, ex.Kind.DATE, ex.Kind.TIMESTAMP)


def _datetime(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if isinstance(value, ex.Shaped) and value.shape == "year" and not args:
        return ex.Cast(value, ex.Kind.DATETIME)  # a dateTime may be as short as its year
    return _of_days(reader, value, args)


def _default(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if len(args) != 1:
        reader.fail("map-arguments", "default takes one argument")
    return ex.first_of((value, args[0]))


def _plus(reader: Reader, of: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if of.kind is not ex.Kind.INTEGER:
        reader.fail("map-kind", f"plus is for integer, not for {of.kind.value}")
    match args:
        case [ex.Constant(value=amount, kind=ex.Kind.INTEGER)]:
            return ex.Plus(of, int(amount))
        case _:
            reader.fail("map-arguments", "plus takes an integer")


def _constants(reader: Reader, name: str, args: list[ex.Expr], most: int) -> list[str]:
    texts = [arg.value for arg in args if isinstance(arg, ex.Constant)]
    if not texts or len(texts) != len(args) or len(texts) > most:
        reader.fail("map-arguments", f"{name} takes 1 to {most} constant texts")
    return texts


def _translate(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
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
    if isinstance(value, ex.Constant):
        answer = crosswalk.answer(value.value, column)
        return ex.Absent() if answer is None else ex.Constant(answer, ex.Kind.CODE)
    return value if isinstance(value, ex.Absent) else ex.Translated(value, name, column)


def _translate_all(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if len(args) != 3:
        reader.fail("map-arguments", "translate_all takes a crosswalk, a column and a separator")
    answer = _translate(reader, value, args[:2])
    if isinstance(answer, ex.Constant | ex.Absent):
        return answer
    (separator,) = _constants(reader, "translate_all", args[2:], 1)
    if not isinstance(answer, ex.Translated):
        raise AssertionError(answer)
    return ex.TranslatedAll(value, answer.crosswalk, answer.column, separator)


def _shape(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    (shape,) = _constants(reader, "shape", args, 1)
    if shape not in SHAPES:
        reader.fail("map-arguments", f"no shape {shape!r}", (shape, SHAPES))
    return value if isinstance(value, ex.Absent) else ex.Shaped(value, shape)


def _left(reader: Reader, of: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    match args:
        case [ex.Constant(value=length, kind=ex.Kind.INTEGER)] if int(length) > 0:
            return of if isinstance(of, ex.Absent) else ex.Left(of, int(length))
        case _:
            reader.fail("map-arguments", "left takes a number of characters")


def _logical_id(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    (resource,) = _constants(reader, "logical_id", args, 1)
    return value if isinstance(value, ex.Absent) else ex.LogicalId(value, resource)


def _provider(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    resource, *only = _constants(reader, "provider", args, 2)
    if only not in ([], ["only"]):
        reader.fail("map-arguments", "provider takes a type, and 'only'")
    match resource:
        case "Organization" | "Practitioner":
            return (
                value
                if isinstance(value, ex.Absent)
                else ex.ProviderReference(value, resource, bool(only))
            )
        case _:
            reader.fail("map-arguments", "a provider is an 'Organization' or a 'Practitioner'")


def _case(case: Any) -> Build:
    def build(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
        if args:
            reader.fail("map-arguments", f"{case} takes no argument")
        return value if isinstance(value, ex.Absent) else ex.Cased(value, case)

    return build


_TEXTS: Final = (ex.Kind.TEXT, ex.Kind.CODE, ex.Kind.FLAG, ex.Kind.LIST)

FILTERS: Final[Mapping[str, Build]] = {
    "text": _cast(ex.Kind.TEXT),
    "code": _cast(ex.Kind.CODE, *_TEXTS),
    "money": _cast(ex.Kind.MONEY, ex.Kind.MONEY),
    "decimal": _cast(ex.Kind.DECIMAL, ex.Kind.DECIMAL, ex.Kind.INTEGER),
    "integer": _cast(ex.Kind.INTEGER, ex.Kind.INTEGER),
    "plus": _plus,
    "date": _cast(ex.Kind.DATE, ex.Kind.DATE),
    "datetime": _datetime,
    "instant": _cast(ex.Kind.INSTANT, ex.Kind.DATE, ex.Kind.TIMESTAMP),
    "boolean": _cast(ex.Kind.BOOLEAN, ex.Kind.FLAG, ex.Kind.BOOLEAN),
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
"""Name of a filter -> what builds its expression."""

NAMES: Final = (*FILTERS, "weak")
"""Names of all filters; a test compares docs/mapping.md with them."""
