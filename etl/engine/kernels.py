"""Column kernels: whole columns of text in, whole columns of text out.

Every kernel takes and gives `pa.StringArray`s of one length, null where absent. They avoid what is
slow at this size: regular expressions, slicing of UTF-8, and copies that nobody needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.mapping.environment import Environment
from etl.model.ids import ID_BYTES

Bools: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = npt.NDArray[np.int64]

_QUOTE, _BACKSLASH, _FIRST_PRINTABLE = 0x22, 0x5C, 0x20
_BASE32: Final = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", dtype=np.uint8)
_ID_CHARACTERS: Final = ID_BYTES * 8 // 5
_SHORT: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROLS: Final = tuple((chr(at), _SHORT.get(at, f"\\u{at:04x}")) for at in range(0x20))


def column_of(table: pa.Table, name: str) -> pa.StringArray:
    """Return a column of a table as a single array."""
    column = table.column(name)
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def true_of(column: pa.BooleanArray | pa.ChunkedArray) -> Bools:
    """Return where a column is true, as an array of one's own; null is not."""
    found: Bools = np.asarray(pc.fill_null(column, False)).copy()
    return found


def text_bytes(column: pa.StringArray | pa.LargeStringArray) -> npt.NDArray[np.uint8]:
    """Return the bytes of all texts of a column, one after the other, without copying them."""
    _, offsets, data = column.buffers()
    if data is None or len(column) == 0:
        return np.empty(0, dtype=np.uint8)
    width = np.dtype(np.int64 if pa.types.is_large_string(column.type) else np.int32)
    at = width.itemsize * column.offset
    bounds = np.frombuffer(offsets, dtype=width, count=len(column) + 1, offset=at)
    return np.frombuffer(data, dtype=np.uint8)[bounds[0] : bounds[-1]]


def escaped(column: pa.StringArray) -> pa.StringArray:
    """Return a column as it stands between the quotes of JSON (RFC 8259 §7).

    Nearly no column needs it, so that one look over the bytes decides first.
    """
    data = text_bytes(column)
    odd = (data < _FIRST_PRINTABLE) | (data == _QUOTE) | (data == _BACKSLASH)
    if not odd.any():
        return column
    found = np.unique(data[odd])
    result = column
    if _BACKSLASH in found:  # first: the others put backslashes in
        result = pc.replace_substring(result, "\\", "\\\\")
    if _QUOTE in found:
        result = pc.replace_substring(result, '"', '\\"')
    for at in found[found < _FIRST_PRINTABLE]:
        result = pc.replace_substring(result, *_CONTROLS[at])
    return result


def join(*pieces: str | pa.StringArray, absent_as_empty: bool) -> pa.StringArray:
    """Return the pieces of each row put together, a `str` being the same in every row.

    Args:
        pieces: at least one of them a column.
        absent_as_empty: an absent piece is nothing; else it makes its whole row absent.
    """
    if absent_as_empty:
        return pc.binary_join_element_wise(
            *pieces, "", null_handling="replace", null_replacement=""
        )
    return pc.binary_join_element_wise(*pieces, "")


def valid(column: pa.Array) -> Bools | bool:
    """Return where a column is there; True or False where that is the same in every row."""
    if column.null_count == 0:
        return True
    if column.null_count == len(column):
        return False
    return np.asarray(column.is_valid())


def joined_lists(column: pa.StringArray, counts: Indices) -> pa.StringArray:
    """Return runs of a column put together with commas, `counts[i]` texts in row i.

    Args:
        column: shape (sum of counts,), never null.
        counts: shape (n,).

    Returns:
        Shape (n,), never null; "" for an empty run.
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets), column), ",")


def over_distinct(column: pa.StringArray, answers: object) -> pa.StringArray:
    """Return a column through a function of a list of texts, asked once for each distinct text.

    Args:
        column: shape (n,).
        answers: takes the distinct texts, gives one text or None for each.
    """
    encoded = column.dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    given = pa.array(answers(texts), pa.string())  # type: ignore[operator]
    return given.take(encoded.indices)


def logical_ids(column: pa.StringArray, resource: str, environment: Environment) -> pa.StringArray:
    """Return the logical ids of a column of business keys; `Environment.logical_id`, by column."""
    encoded = column.dictionary_encode()
    keys = encoded.dictionary.to_pylist()
    ids = hashed_ids(keys, resource, environment)
    return ids if len(keys) == len(column) else ids.take(encoded.indices)


def hashed_ids(keys: Sequence[str], resource: str, environment: Environment) -> pa.StringArray:
    """Return the logical ids of some business keys of one resource type."""
    salted = blake2b(environment.salt(resource), digest_size=ID_BYTES, key=environment.id_key)
    digests = []
    for key in keys:
        state = salted.copy()
        state.update(key.encode())
        digests.append(state.digest())
    bits = np.unpackbits(np.frombuffer(b"".join(digests), dtype=np.uint8))
    fives = bits.reshape(-1, 5)
    values = fives @ np.array([16, 8, 4, 2, 1], dtype=np.uint8)
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * np.int32(_ID_CHARACTERS)
    return pa.StringArray.from_buffers(
        len(keys), pa.py_buffer(offsets), pa.py_buffer(_BASE32[values])
    )


def money_of_cents(cents: Indices, where: Bools) -> pa.StringArray:
    """Return cents as canonical money: two fraction digits.

    Args:
        cents: shape (n,).
        where: shape (n,): rows that are there.
    """
    whole = pa.array(cents).cast(pa.decimal128(19, 0))
    scaled = pa.Array.from_buffers(pa.decimal128(19, 2), len(whole), whole.buffers())
    return pc.if_else(pa.array(where), scaled.cast(pa.string()), None)


def cents_of_money(column: pa.StringArray) -> Indices:
    """Return canonical money (two fraction digits) as cents; 0 where absent."""
    digits = pc.replace_substring(column, ".", "")
    filled = pc.fill_null(digits.cast(pa.int64()), 0)
    return np.asarray(filled)


def total_of_groups(values: Indices, groups: Indices, size: int) -> Indices:
    """Return the sum of the values of each group, exactly.

    Args:
        values: shape (m,).
        groups: shape (m,), ascending: the group of each value.
        size: how many groups there are.
    """
    sums = np.zeros(size + 1, dtype=np.int64)
    running = np.concatenate(([0], np.cumsum(values)))
    bounds = np.searchsorted(groups, np.arange(size + 1))
    sums[:] = running[bounds]
    return np.diff(sums)
