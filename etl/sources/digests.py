"""Digests of raw rows: whether a row is, cell by cell, what it was in another extract.

A digest is XXH3 of 128 bits (xxHash 0.8) over the row's cells, begun from a hash of the raw table
and the headers, so that the same text under other headers is another row. It tells accidents
apart, not forgeries; both sides of every comparison come from the payer's own extract.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Lane = npt.NDArray[np.uint64]
_BETWEEN: Final = "\x1f"


class Digests(NamedTuple):
    """Digests of some rows, in two halves; each of shape (n,)."""

    low: Lane
    high: Lane


def seed_of(table: str, headers: Sequence[str]) -> int:
    """Return what the digests of a file's rows begin from."""
    return xxhash.xxh3_64_intdigest(_BETWEEN.join([table, *headers]).encode())


def row_digests(columns: Sequence[Any], seed: int) -> Digests:
    """Return the digest of each row.

    Args:
        columns: `string` arrays of one length, at least one; null and `""` are the same.
        seed: from `seed_of`.
    """
    rows = _joined(columns)
    _, offsets, data = rows.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32, count=len(rows) + 1, offset=4 * rows.offset)
    text, digest = memoryview(data or b""), xxhash.xxh3_128_digest
    ends = bounds.tolist()
    found = b"".join([digest(text[start:end], seed) for start, end in pairwise(ends)])
    lanes = np.frombuffer(found, dtype="<u8").reshape(-1, 2)
    return Digests(lanes[:, 0].astype(np.uint64), lanes[:, 1].astype(np.uint64))


def _joined(columns: Sequence[Any]) -> pa.StringArray:
    """Return the cells of each row as one text from which they could be told again."""
    if any(_holds_mark(column) for column in columns):
        columns = [
            pc.replace_substring(pc.replace_substring(column, "\x1e", "\x1e0"), _BETWEEN, "\x1e1")
            for column in columns
        ]
    return pc.binary_join_element_wise(
        *columns, _BETWEEN, null_handling="replace", null_replacement=""
    )


def _holds_mark(column: Any) -> bool:
    # What the column is a slice of may hold one too: then the marks are taken care of in vain.
    data = column.buffers()[2]
    text = b"" if data is None else data.to_pybytes()
    return b"\x1f" in text or b"\x1e" in text
