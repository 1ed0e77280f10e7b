"""Parquet files into batches of text, every value written out exactly."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.errors import ExtractError
from etl.model.canonical_tables import ROW_COLUMN
from etl.sources.files import listed_files
from etl.sources.files.listed_files import MOST_RATIO, ListedFile, SplitPoint, UnpackedBudget
from etl.sources.parsing.spans import (
    LONGEST_ROW,
    WHOLE_FILE,
    Batch,
    Span,
    SpanMismatch,
    drop_empty_rows,
    long_row_error,
)

BATCH_ROWS: Final = 1 << 16
BATCH_BYTES: Final = 32 << 20
_FIRST_ROW: Final = 2
FREE_PAGE: Final = 64 << 20
"""Bytes that any column chunk may decompress to: its largest page is held in memory whole."""


def read_parquet_headers(listed: ListedFile) -> tuple[str, ...]:
    """Return the column names of a Parquet file, or of the Delta table that it belongs to.

    Raises:
        ExtractError: the file is broken, or a column's type can't be written exactly as text.
    """
    if listed.data is not None:
        return tuple(name.strip() for name in listed.data.columns)
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            schema = file.schema_arrow
    except (pa.ArrowException, OSError):
        raise _broken_error(listed) from None
    for number, field in enumerate(schema, start=1):  # An unsupported type is an error here.
        text_converter(field, f"{listed.name}: column {number} ({field.name})")
    return tuple(name.strip() for name in schema.names)


def count_parquet_rows(listed: ListedFile) -> int:
    """Return how many rows a Parquet file says it has."""
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            row_count: int = file.metadata.num_rows
    except (pa.ArrowException, OSError):
        raise _broken_error(listed) from None
    return row_count


def parquet_split_points(listed: ListedFile) -> tuple[SplitPoint, ...]:
    """Return where a Parquet file can be split into spans: before some of its row groups.

    What counts as the offset of a row group is how much data is stored before it.

    Raises:
        ExtractError: it is broken.
    """
    split_points, last_start = list[SplitPoint](), 0
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as file:
            metadata = file.metadata
    except (pa.ArrowException, OSError):
        raise _broken_error(listed) from None
    for start, row in _row_groups(metadata):
        if start - last_start >= listed_files.SPLIT_BYTES:
            split_points.append((start, row))
            last_start = start
    return tuple(split_points)


def _row_groups(metadata: pq.FileMetaData) -> Iterator[SplitPoint]:
    """Yield the offset and the first row of each row group."""
    start, row = 0, _FIRST_ROW
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        yield start, row
        start += sum(group.column(at).total_compressed_size for at in range(group.num_columns))
        row += group.num_rows


def read_batches(
    listed: ListedFile, headers: tuple[str, ...], size: int, *, span: Span = WHOLE_FILE
) -> Iterator[Batch]:
    """Yield the rows of a Parquet file in order, as `delimited.read_batches` does.

    The first row has number 2, so that a table has the same row numbers in every format. A span
    is some row groups (`parquet_split_points`).

    Raises:
        ExtractError: it is broken, or has a row longer than `delimited.LONGEST_ROW`.
        SpanMismatch: the file has other row groups than when it was split.
    """
    try:
        with listed.open() as stored, pq.ParquetFile(stored) as plain:
            metadata = plain.metadata
            _refuse_bomb(metadata, listed.name)
            text_columns = [field.name for field in plain.schema_arrow if _is_text(field.type)]
        group_starts = list(_row_groups(metadata))
        next_row = first_row = span.first_row if span.start else _FIRST_ROW
        if span.start and (span.start, first_row) not in group_starts:
            raise SpanMismatch
        groups = [
            group
            for group, (start, _) in enumerate(group_starts)
            if span.start <= start and (span.end is None or start < span.end)
        ]
        total = max(sum(metadata.row_group(group).num_rows for group in groups), 1)
        with (
            listed.open() as stored,
            pq.ParquetFile(
                stored,
                read_dictionary=text_columns,
                coerce_int96_timestamp_unit="us" if listed.data else None,
            ) as file,
        ):
            budget = UnpackedBudget(stored.seek(0, os.SEEK_END), listed.name)
            for group_batch in file.iter_batches(BATCH_ROWS, row_groups=groups, use_threads=False):
                for batch in _small_slices(group_batch, next_row, listed.name, budget):
                    numbers = np.arange(next_row, next_row + batch.num_rows, dtype=np.int64)
                    next_row += batch.num_rows
                    rows = pa.RecordBatch.from_arrays(
                        [*_text_columns(batch, listed, metadata.schema), pa.array(numbers)],
                        [*headers, ROW_COLUMN],
                    )
                    yield Batch(drop_empty_rows(rows), (), size * (next_row - first_row) // total)
    except (pa.ArrowException, OSError):
        raise _broken_error(listed) from None


def _text_columns(batch: pa.RecordBatch, listed: ListedFile, schema: pq.ParquetSchema) -> list[Any]:
    """Return the cells of a batch as text, column by column; a data file's in its table's order.

    INT96 is how Spark stores an instant in UTC; elsewhere nobody says whose time it is.
    """
    columns = batch.columns
    if listed.data is not None:
        for at in range(len(columns)):
            if schema.column(at).physical_type == "INT96":
                columns[at] = columns[at].cast(pa.timestamp("us", "UTC"))
    texts = [
        pc.fill_null(text_converter(field.with_type(column.type), listed.name)(column), "")
        for field, column in zip(batch.schema, columns, strict=True)
    ]
    if listed.data is None:
        return texts
    columns_by_name = dict(zip(batch.schema.names, texts, strict=True))
    columns_by_name |= {name: pa.repeat(cell, len(batch)) for name, cell in listed.data.partition}
    empty = pa.repeat("", len(batch))
    return [columns_by_name.get(name, empty) for name in listed.data.columns]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _refuse_bomb(metadata: pq.FileMetaData, name: str) -> None:
    """Refuse a column chunk that is decompressed to far more than it is stored as, or its rows may.

    Raises:
        ExtractError: naming the file.
    """
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            if chunk.total_uncompressed_size > LONGEST_ROW * (group.num_rows + 1):
                raise ExtractError(f"{name}: a row is longer than {LONGEST_ROW >> 10} KB")
            if chunk.total_uncompressed_size > FREE_PAGE + MOST_RATIO * chunk.total_compressed_size:
                raise ExtractError(
                    f"{name}: column {chunk.path_in_schema} unpacks to more than {MOST_RATIO} "
                    "times its size, as a file does that is made to fill memory; write it as CSV"
                )


def _small_slices(
    batch: pa.RecordBatch, first_row: int, name: str, budget: UnpackedBudget
) -> Iterator[pa.RecordBatch]:
    """Yield slices of rows whose cells have at most `BATCH_BYTES` as separate texts.

    Texts come as dictionaries, because one long value in each of many rows takes no space there.
    """
    lengths = np.full(batch.num_rows, batch.num_columns, dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            sizes = pc.binary_length(column.dictionary)
            lengths += pc.fill_null(sizes.take(column.indices), 0).to_numpy(zero_copy_only=False)
    if lengths.max(initial=0) > LONGEST_ROW:
        raise long_row_error(name, first_row + int(np.argmax(lengths > LONGEST_ROW)))
    ends = np.cumsum(lengths)
    budget.take(int(lengths.sum()))
    start = 0
    while start < batch.num_rows:
        start_bytes = ends[start] - lengths[start]
        end = max(int(np.searchsorted(ends, start_bytes + BATCH_BYTES, "right")), start + 1)
        yield batch.slice(start, end - start)
        start = end


def _broken_error(listed: ListedFile) -> ExtractError:
    return ExtractError(f"{listed.name}: the Parquet file is broken or incomplete; copy it again")


_FIRST_DAY: Final = -719_162
_LAST_DAY: Final = 2_932_896
"""Days from 1970-01-01 to 0001-01-01 and 9999-12-31; what lies outside is no date but a sign."""


def text_converter(field: pa.Field, where: str) -> Callable[[Any], Any]:
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
        return _uuid_texts
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
        return lambda column: _timestamp_texts(column, zoned=kind.tz is not None)
    if types.is_decimal(kind) and kind.scale < 0:
        raise ExtractError(f"{where} has a decimal type with a negative scale; write it as text")
    if types.is_date(kind):
        return lambda column: _day_texts(column, where)
    if types.is_decimal(kind):
        return _decimal_texts
    exact = (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_null(kind)
    )
    if not exact:
        raise ExtractError(f"{where} has type {kind}, which has no place in a table of text")
    return lambda column: column.cast(pa.string())


def _day_texts(column: Any, where: str) -> Any:
    days = column.cast(pa.date32()).cast(pa.int32())
    bounds = pc.min_max(days).as_py()
    if bounds["min"] is not None and not _FIRST_DAY <= bounds["min"] <= bounds["max"] <= _LAST_DAY:
        raise ExtractError(f"{where} has a date before the year 1 or after 9999, as infinity is")
    return column.cast(pa.string())


def _decimal_texts(column: Any) -> Any:
    """Return decimals as texts with all digits of their scale, as `0.00000000`."""
    texts = column.cast(pa.string())
    # Arrow writes numbers whose first digit is far behind the point as `0E-8`.
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    values = column.to_pylist()
    return pa.array([None if value is None else f"{value:f}" for value in values], pa.string())


def _timestamp_texts(column: Any, *, zoned: bool) -> Any:
    """Return timestamps as RFC 3339 texts; whole seconds have no fraction."""
    if zoned:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    texts = pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ" if zoned else "%Y-%m-%dT%H:%M:%S")
    return pc.replace_substring_regex(texts, r"\.0+(Z?)$", r"\1")


def _uuid_texts(column: Any) -> Any:
    values = column.storage.to_pylist()
    texts = [None if value is None else str(uuid.UUID(bytes=value)) for value in values]
    return pa.array(texts, pa.string())
