"""Values as bytes on their way from the driver to executors."""

from __future__ import annotations

import copyreg
import io
import pickle
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from etl.rows import COMPRESSED
from etl.sources.unit_rows import Tables


class _Pickler(pickle.Pickler):
    """Pickles read-only mappings as well, of which definitions are full."""

    dispatch_table = copyreg.dispatch_table.copy()


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


_Pickler.dispatch_table[MappingProxyType] = lambda mapping: (_read_only, (dict(mapping),))


def pickled(value: object) -> bytes:
    """Return a value as bytes."""
    out = io.BytesIO()
    _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(value)
    return out.getvalue()


def unpickled(data: bytes) -> Any:
    """Return the value of bytes that came from the driver of this run; only executors call this."""
    return pickle.loads(data)  # noqa: S301 # as Spark unpickles the function that calls this


def packed(tables: Tables) -> bytes:
    """Return tables as compressed bytes: a third to a tenth of the rows."""
    return pickled({place: stream_of(table) for place, table in tables.items()})


def stream_of(table: pa.Table) -> bytes:
    """Return a table as a compressed Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=COMPRESSED) as writer:
        writer.write_table(table)
    stream: bytes = sink.getvalue().to_pybytes()
    return stream


def unpacked(data: bytes) -> Tables:
    """Return the tables that `packed` made bytes of."""
    tables = {}
    for place, stream in unpickled(data).items():
        with pa.ipc.open_stream(stream) as reader:
            tables[place] = reader.read_all()
    return tables
