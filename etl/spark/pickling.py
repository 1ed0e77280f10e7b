"""Values as bytes on their way from the driver to executors."""

from __future__ import annotations

import copyreg
import io
import pickle
from types import MappingProxyType
from typing import Any

from etl.model.canonical_tables import declare_own_columns, own_columns


class _Pickler(pickle.Pickler):
    """Pickles read-only mappings as well, of which definitions are full."""

    dispatch_table = copyreg.dispatch_table.copy()


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


_Pickler.dispatch_table[MappingProxyType] = lambda mapping: (_read_only, (dict(mapping),))


def pickled(value: object) -> bytes:
    """Return a value as bytes, and a payer's own columns before it."""
    out = io.BytesIO()
    for part in (own_columns(), value):
        _Pickler(out, pickle.HIGHEST_PROTOCOL).dump(part)
    return out.getvalue()


def unpickled(data: bytes) -> Any:
    """Return the value of bytes that came from the driver of this run; only executors call this."""
    parts = io.BytesIO(data)
    declare_own_columns(pickle.load(parts))  # noqa: S301 # as Spark unpickles what calls this
    return pickle.load(parts)  # noqa: S301
