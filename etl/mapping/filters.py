"""The filters of the mapping language: their arguments, and the expressions that they build."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, NamedTuple, NoReturn, Protocol, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping.scope import Scope
from etl.model.code_shapes import SHAPES
from etl.model.crosswalks import Crosswalk


class Reader(Protocol):
    """The reader of the leaf that contains the filter."""

    @property
    def scope(self) -> Scope:
        """The scope of the leaf."""

    def fail(
        self, error_id: str, problem: str, near: tuple[str, Iterable[str]] | None = None
    ) -> NoReturn:
        """Raise the error with the place of the leaf.

        Raises:
            MappingError: always.
        """


Build: TypeAlias = Callable[[Reader, ex.Expr, list[ex.Expr]], ex.Expr]
"""Builds a filter's expression from its value and arguments."""


class Filter(NamedTuple):
    """A filter of the language.

    Attributes:
        build: builds the expression; what it builds of an absent value is not used.
        takes: the arguments, for messages.
        counts: allowed numbers of arguments.
    """

    build: Build
    takes: str = "no argument"
    counts: tuple[int, ...] = (0,)


def apply_filter(reader: Reader, name: str, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    """Return the expression of a filter on a value.

    Raises:
        MappingError: `map-unknown-filter`, `map-arguments`, `map-kind`, `map-unknown-crosswalk`.
    """
    if name not in FILTERS:
        reader.fail("map-unknown-filter", f"no filter {name!r}", (name, NAMES))
    build, takes, counts = FILTERS[name]
    are_constant = name == "default" or all(isinstance(arg, ex.Constant) for arg in args)
    if len(args) not in counts or not are_constant:
        reader.fail("map-arguments", f"{name} takes {takes}")
    built = build(reader, value, args)
    return value if isinstance(value, ex.Absent) and name != "default" else built


def _constant(arg: ex.Expr) -> str:
    return arg.value if isinstance(arg, ex.Constant) else ""


def _cast(to: ex.Kind, *allowed: ex.Kind) -> Build:
    def build(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
        if allowed and value.kind not in allowed and not isinstance(value, ex.Absent):
            names = " or ".join(kind.value for kind in allowed)
            reader.fail("map-kind", f"{to.value} is for {names}, not for {value.kind.value}")
        if value.kind is to:
            return value
        if isinstance(value, ex.Constant):
            return ex.Constant(value.value, to)
        return ex.Cast(value, to)

    return build


_cast_to_datetime: Final = _cast(ex.Kind.DATETIME, ex.Kind.DATE, ex.Kind.TIMESTAMP)


def _datetime(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if isinstance(value, ex.ShapedText) and value.shape == "year":
        return ex.Cast(value, ex.Kind.DATETIME)  # a dateTime may be as short as its year
    return _cast_to_datetime(reader, value, args)


def _default(_reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    return ex.first_of((value, args[0]))


def _plus(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if value.kind is not ex.Kind.INTEGER:
        reader.fail("map-kind", f"plus is for integer, not for {value.kind.value}")
    if args[0].kind is not ex.Kind.INTEGER:
        reader.fail("map-arguments", "plus takes an integer")
    return ex.Plus(value, int(_constant(args[0])))


def _find_crosswalk(reader: Reader, name: str, column: str) -> tuple[Crosswalk, str]:
    """Return a crosswalk, and its column of that name; the first one if the name is empty."""
    crosswalks = reader.scope.library.crosswalks
    if name not in crosswalks:
        reader.fail("map-unknown-crosswalk", f"no crosswalk {name!r}", (name, crosswalks))
    columns = crosswalks[name].columns
    if column and column not in columns:
        message = f"crosswalk {name} has no column {column!r}"
        reader.fail("map-unknown-crosswalk", message, (column, columns))
    return crosswalks[name], column or columns[0]


def _translate(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    name, column = (*map(_constant, args), "")[:2]
    crosswalk, column = _find_crosswalk(reader, name, column)
    if isinstance(value, ex.Constant):
        answer = crosswalk.answer(value.value, column)
        return ex.Absent() if answer is None else ex.Constant(answer, ex.Kind.CODE)
    return ex.Translation(value, name, column)


def _translate_all(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if isinstance(value, ex.Constant):
        return _translate(reader, value, args[:2])
    name, column, separator = map(_constant, args)
    _find_crosswalk(reader, name, column)
    return ex.ListTranslation(value, name, column, separator)


def _shape(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    shape = _constant(args[0])
    if shape not in SHAPES:
        reader.fail("map-arguments", f"no shape {shape!r}", (shape, SHAPES))
    return ex.ShapedText(value, shape)


def _left(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    if args[0].kind is not ex.Kind.INTEGER or int(_constant(args[0])) <= 0:
        reader.fail("map-arguments", "left takes a number of characters")
    return ex.Prefix(value, int(_constant(args[0])))


def _logical_id(_reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    return ex.LogicalId(value, _constant(args[0]))


def _provider(reader: Reader, value: ex.Expr, args: list[ex.Expr]) -> ex.Expr:
    resource, *only = map(_constant, args)
    if only not in ([], ["only"]):
        reader.fail("map-arguments", "provider takes a type, and 'only'")
    match resource:
        case "Organization" | "Practitioner":
            return ex.ProviderReference(value, resource, bool(only))
        case _:
            reader.fail("map-arguments", "a provider is an 'Organization' or a 'Practitioner'")


def _change_case(case: Literal["lower", "upper"]) -> Build:
    return lambda _reader, value, _args: ex.CaseChange(value, case)


_TEXTS: Final = (ex.Kind.TEXT, ex.Kind.CODE, ex.Kind.FLAG, ex.Kind.LIST)
_ONE_TEXT: Final = "one constant text"
_TWO_TEXTS: Final = "one or two constant texts"

FILTERS: Final[Mapping[str, Filter]] = {
    "text": Filter(_cast(ex.Kind.TEXT)),
    "code": Filter(_cast(ex.Kind.CODE, *_TEXTS)),
    "money": Filter(_cast(ex.Kind.MONEY, ex.Kind.MONEY)),
    "decimal": Filter(_cast(ex.Kind.DECIMAL, ex.Kind.DECIMAL, ex.Kind.INTEGER)),
    "integer": Filter(_cast(ex.Kind.INTEGER, ex.Kind.INTEGER)),
    "plus": Filter(_plus, "an integer", (1,)),
    "date": Filter(_cast(ex.Kind.DATE, ex.Kind.DATE)),
    "datetime": Filter(_datetime),
    "instant": Filter(_cast(ex.Kind.INSTANT, ex.Kind.DATE, ex.Kind.TIMESTAMP)),
    "boolean": Filter(_cast(ex.Kind.BOOLEAN, ex.Kind.FLAG, ex.Kind.BOOLEAN)),
    "default": Filter(_default, "one argument", (1,)),
    "lower": Filter(_change_case("lower")),
    "upper": Filter(_change_case("upper")),
    "translate": Filter(_translate, _TWO_TEXTS, (1, 2)),
    "translate_all": Filter(_translate_all, "a crosswalk, a column and a separator", (3,)),
    "shape": Filter(_shape, _ONE_TEXT, (1,)),
    "left": Filter(_left, "a number of characters", (1,)),
    "logical_id": Filter(_logical_id, _ONE_TEXT, (1,)),
    "provider": Filter(_provider, _TWO_TEXTS, (1, 2)),
}

NAMES: Final = (*FILTERS, "weak")
"""Names of all filters; a test compares docs/mapping.md with them."""
