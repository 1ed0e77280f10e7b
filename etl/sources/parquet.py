"""Parquet files into batches of text, every value written out exactly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.delimited import Batch, refuse_long_rows
from etl.sources.extract_folder import Listed

BATCH_ROWS: Final = 1 << 16


def parquet_headers(listed: Listed) -> tuple[str, ...]:
    """Return the column names of a Parquet file.

    Raises:
        ExtractError: it is broken, or a column has a type that has no exact text.
    """
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None
    for number, field in enumerate(schema, start=1):
        _writer(field.type, f"{listed.name}: column {number} ({field.name})")
    return tuple(name.strip() for name in schema.names)


def parquet_rows(listed: Listed) -> int:
    """Return how many rows a Parquet file says it has."""
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            rows: int = file.metadata.num_rows
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None
    return rows


def read_batches(listed: Listed, headers: tuple[str, ...], size: int) -> Iterator[Batch]:
    """Yield the rows of a Parquet file in order, as `delimited.read_batches` does.

    The first row has number 2, so that a table has the same row numbers in every format.

    Raises:
        ExtractError: it is broken, or has a row longer than `delimited.LONGEST_ROW`.
    """
    number = 2
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                numbers = np.arange(number, number + batch.num_rows, dtype=np.int64)
                number += batch.num_rows
                arrays = [
                    pc.fill_null(_writer(column.type, listed.name)(column), "")
                    for column in batch.columns
                ]
                rows = pa.RecordBatch.from_arrays(
                    [*arrays, pa.array(numbers)], [*headers, ROW_COLUMN]
                )
                refuse_long_rows(rows, listed.name)
                yield Batch(_filled(rows), (), size * (number - 2) // total)
    except (pa.ArrowException, OSError):
        raise _broken(listed) from None


def _filled(batch: pa.RecordBatch) -> pa.RecordBatch:
    blank = np.ones(batch.num_rows, dtype=bool)
    for column in batch.columns[:-1]:
        blank &= pc.equal(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        if not blank.any():
            return batch
    return batch.filter(pa.array(~blank))


def _broken(listed: Listed) -> ExtractError:
    return ExtractError(f"{listed.name}: the Parquet file is broken or cut off; copy it again")


def _writer(kind: pa.DataType, where: str) -> Callable[[Any], Any]:
    """Return what writes values of an Arrow type as text.

    Raises:
        ExtractError: the type has no exact text.
    """
    types = pa.types
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
    exact = (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_decimal(kind)
        or types.is_date(kind)
        or types.is_null(kind)
    )
    if not exact:
        raise ExtractError(f"{where} has type {kind}, which has no place in a table of text")
    return lambda column: column.cast(pa.string())


def _instants(column: Any, *, zoned: bool) -> Any:
    """Write instants as RFC 3339 has them; whole seconds without a fraction."""
    # Where there are fractions of seconds the cast is refused, and they are kept.
    with contextlib.suppress(pa.ArrowInvalid):
        column = column.cast(pa.timestamp("s", tz=column.type.tz))
    if zoned:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ" if zoned else "%Y-%m-%dT%H:%M:%S")
