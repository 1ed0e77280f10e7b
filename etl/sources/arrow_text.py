"""Values of Arrow as exact text, as cells of a delimited file have them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import ExtractError

_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
"""Days from 1970-01-01 to 0001-01-01 and 9999-12-31; what lies outside is no date but a sign."""


def text_writer(field: pa.Field, where: str) -> Callable[[Any], Any]:
    """Return what writes values of a column as text; null stays null.

    Whole numbers become digits, decimals keep their own, dates are `YYYY-MM-DD`, instants as
    RFC 3339 has them, booleans `Y` and `N`, UUIDs lower-case hex.

    Args:
        field: the column.
        where: what messages call it.

    Raises:
        ExtractError: its type has no exact text; from what is returned, a date that is none.
    """
    if (field.metadata or {}).get(b"POSTGRESQL:type") == b"money":
        raise ExtractError(f"{where} has type money, whose digits depend on a locale; cast it")
    return _writer(field.type, where)


def _writer(kind: pa.DataType, where: str) -> Callable[[Any], Any]:
    types = pa.types
    if isinstance(kind, pa.UuidType):
        return _uuids
    if isinstance(kind, pa.OpaqueType) and kind.type_name == "numeric":
        kind, inside = kind.storage_type, _writer(kind.storage_type, where)
        return lambda column: inside(column.storage)
    if types.is_dictionary(kind):
        inner = _writer(kind.value_type, where)
        return lambda column: inner(column.dictionary_decode())
    if types.is_floating(kind):
        raise ExtractError(
            f"{where} holds binary floating point, which cannot hold cents exactly; "
            "write it as decimal or text"
        )
    if types.is_boolean(kind):
        return lambda column: pc.if_else(column, "Y", "N")
    if types.is_timestamp(kind):
        return lambda column: _instants(column, zoned=kind.tz is not None)
    if types.is_decimal(kind) and kind.scale < 0:
        raise ExtractError(f"{where} has a decimal type with a negative scale; write it as text")
    if types.is_date(kind):
        return lambda column: _days(column, where)
    exact = (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_decimal(kind)
        or types.is_null(kind)
    )
    if not exact:
        raise ExtractError(f"{where} has type {kind}, which has no place in a table of text")
    return lambda column: column.cast(pa.string())


def _days(column: Any, where: str) -> Any:
    days = column.cast(pa.date32()).cast(pa.int32())
    bounds = pc.min_max(days).as_py()
    if bounds["min"] is not None and not _FIRST_DAY <= bounds["min"] <= bounds["max"] <= _LAST_DAY:
        raise ExtractError(f"{where} has a date before the year 1 or after 9999, as infinity is")
    return column.cast(pa.string())


def _instants(column: Any, *, zoned: bool) -> Any:
    """Write instants as RFC 3339 has them; whole seconds without a fraction."""
    # Where there are fractions of seconds the cast is refused, and they are kept.
    with contextlib.suppress(pa.ArrowInvalid):
        column = column.cast(pa.timestamp("s", tz=column.type.tz))
    if zoned:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ" if zoned else "%Y-%m-%dT%H:%M:%S")


def _uuids(column: Any) -> Any:
    values = column.storage.to_pylist()
    texts = [None if value is None else str(uuid.UUID(bytes=value)) for value in values]
    return pa.array(texts, pa.string())
