"""Values as bytes on their way from the driver to executors."""

from __future__ import annotations

import copyreg
import io
import pickle
from types import MappingProxyType
from typing import Any

from etl.model.canonical_tables import declare_own_columns, own_columns


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


# Definitions are full of read-only mappings, which Python does not pickle by itself.
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


def pickled(value: object) -> bytes:
    """Return a value as bytes, and a payer's own columns before it."""
    return pickle.dumps(own_columns()) + pickle.dumps(value)


def unpickled(data: bytes) -> Any:
    """Return the value of bytes that came from the driver of this run; only executors call this."""
    parts = io.BytesIO(data)
    declare_own_columns(pickle.load(parts))  # noqa: S301 # as Spark unpickles what calls this
    return pickle.load(parts)  # noqa: S301
