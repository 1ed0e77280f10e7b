"""The filters of the mapping language: what each may stand on, and the expression that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, Protocol, TypeAlias

from etl.mapping.combinations import first_of
from etl.mapping.expressions import (
    Absent,
    Cased,
    Cast,
    Constant,
    Expr,
    Kind,
    Left,
    LogicalId,
    Plus,
    ProviderReference,
    Shaped,
    Translated,
    TranslatedAll,
)
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


Build: TypeAlias = Callable[[Reader, Expr, list[Expr]], Expr]


def _cast(to: Kind, *allowed: Kind) -> Build:
    def build(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
        if args:
            reader.fail("map-arguments", f"{to.value} takes no argument")
        if isinstance(value, Absent):
            return value
        if allowed and value.kind not in allowed:
            names = " or ".join(kind.value for kind in allowed)
            reader.fail("map-kind", f"{to.value} is for {names}, not for {value.kind.value}")
        if value.kind is to:
            return value
        if isinstance(value, Constant):
            return Constant(value.value, to)
        return Cast(value, to)

    return build


_of_days: Final = _cast(Kind.DATETIME, Kind.DATE, Kind.TIMESTAMP)


def _datetime(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    if isinstance(value, Shaped) and value.shape == "year" and not args:
        return Cast(value, Kind.DATETIME)  # a dateTime may be as short as its year
    return _of_days(reader, value, args)


def _default(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    if len(args) != 1:
        reader.fail("map-arguments", "default takes one argument")
    return first_of((value, args[0]))


def _plus(reader: Reader, of: Expr, args: list[Expr]) -> Expr:
    if of.kind is not Kind.INTEGER:
        reader.fail("map-kind", f"plus is for integer, not for {of.kind.value}")
    match args:
        case [Constant(value=amount, kind=Kind.INTEGER)]:
            return Plus(of, int(amount))
        case _:
            reader.fail("map-arguments", "plus takes an integer")


def _constants(reader: Reader, name: str, args: list[Expr], most: int) -> list[str]:
    texts = [arg.value for arg in args if isinstance(arg, Constant)]
    if not texts or len(texts) != len(args) or len(texts) > most:
        reader.fail("map-arguments", f"{name} takes 1 to {most} constant texts")
    return texts


def _translate(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
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
    if isinstance(value, Constant):
        answer = crosswalk.answer(value.value, column)
        return Absent() if answer is None else Constant(answer, Kind.CODE)
    return value if isinstance(value, Absent) else Translated(value, name, column)


def _translate_all(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    if len(args) != 3:
        reader.fail("map-arguments", "translate_all takes a crosswalk, a column and a separator")
    answer = _translate(reader, value, args[:2])
    if isinstance(answer, Constant | Absent):
        return answer
    (separator,) = _constants(reader, "translate_all", args[2:], 1)
    if not isinstance(answer, Translated):
        raise AssertionError(answer)
    return TranslatedAll(value, answer.crosswalk, answer.column, separator)


def _shape(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    (shape,) = _constants(reader, "shape", args, 1)
    if shape not in SHAPES:
        reader.fail("map-arguments", f"no shape {shape!r}", (shape, SHAPES))
    return value if isinstance(value, Absent) else Shaped(value, shape)


def _left(reader: Reader, of: Expr, args: list[Expr]) -> Expr:
    match args:
        case [Constant(value=length, kind=Kind.INTEGER)] if int(length) > 0:
            return of if isinstance(of, Absent) else Left(of, int(length))
        case _:
            reader.fail("map-arguments", "left takes a number of characters")


def _logical_id(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    (resource,) = _constants(reader, "logical_id", args, 1)
    return value if isinstance(value, Absent) else LogicalId(value, resource)


def _provider(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
    resource, *only = _constants(reader, "provider", args, 2)
    if only not in ([], ["only"]):
        reader.fail("map-arguments", "provider takes a type, and 'only'")
    match resource:
        case "Organization" | "Practitioner":
            return (
                value
                if isinstance(value, Absent)
                else ProviderReference(value, resource, bool(only))
            )
        case _:
            reader.fail("map-arguments", "a provider is an 'Organization' or a 'Practitioner'")


def _case(case: Any) -> Build:
    def build(reader: Reader, value: Expr, args: list[Expr]) -> Expr:
        if args:
            reader.fail("map-arguments", f"{case} takes no argument")
        return value if isinstance(value, Absent) else Cased(value, case)

    return build


_TEXTS: Final = (Kind.TEXT, Kind.CODE, Kind.FLAG, Kind.LIST)

FILTERS: Final[Mapping[str, Build]] = MappingProxyType(
    {
        "text": _cast(Kind.TEXT),
        "code": _cast(Kind.CODE, *_TEXTS),
        "money": _cast(Kind.MONEY, Kind.MONEY),
        "decimal": _cast(Kind.DECIMAL, Kind.DECIMAL, Kind.INTEGER),
        "integer": _cast(Kind.INTEGER, Kind.INTEGER),
        "plus": _plus,
        "date": _cast(Kind.DATE, Kind.DATE),
        "datetime": _datetime,
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
)
"""Name of a filter -> what builds its expression."""

NAMES: Final = (*FILTERS, "weak")
"""Names of all filters; a test compares docs/mapping.md with them."""
