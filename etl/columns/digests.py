"""Hash ids to 64 bits, and digest raw rows to 128 bits.

An id's hash depends only on its UTF-8 bytes, so it is the same in every process and on every
machine. Among ten million ids, the chance that any two share a hash is about three in a million;
then the affected claims are rejected as duplicates, never mixed up.

Equal digests mean that two rows of different extracts are equal, cell by cell. A digest is XXH3
(xxHash 0.8) over the cells, seeded with a hash of the raw table and the headers, so that the same
text under other headers is a different row. It detects accidents, not forgeries; both sides of
every comparison come from the payer's own extract.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

Hashes = npt.NDArray[np.uint64]
NO_HASHES: Final[Hashes] = np.empty(0, dtype=np.uint64)
# The constants of SplitMix64 (Steele, Lea and Flood 2014; variant 13 of Stafford).
_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)
_SEPARATOR: Final = "\x1f"


class Digests(NamedTuple):
    """Digests of some rows, in two halves; each of shape (n,)."""

    low: Hashes
    high: Hashes


def seed_of(table: str, headers: Sequence[str]) -> int:
    """Compute the seed of the digests of a file's rows."""
    return xxhash.xxh3_64_intdigest(_SEPARATOR.join([table, *headers]).encode())


def row_digests(columns: Sequence[Any], seed: int) -> Digests:
    """Compute the digest of each row.

    Args:
        columns: `string` arrays of equal length, at least one; null counts as `""`.
        seed: from `seed_of`.
    """
    rows = _join_cells(columns).cast(pa.binary()).to_pylist()  # faster than slices of a buffer
    digests = b"".join(map(xxhash.xxh3_128_digest, rows, repeat(seed)))
    lanes = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
    return Digests(lanes[:, 0].astype(np.uint64), lanes[:, 1].astype(np.uint64))


def _join_cells(columns: Sequence[Any]) -> pa.StringArray:
    """Join the cells of each row to one unambiguous text."""
    if any(_has_separator(column) for column in columns):
        columns = [
            pc.replace_substring(pc.replace_substring(column, "\x1e", "\x1e0"), _SEPARATOR, "\x1e1")
            for column in columns
        ]
    return pc.binary_join_element_wise(
        *columns, _SEPARATOR, null_handling="replace", null_replacement=""
    )


def _has_separator(column: Any) -> bool:
    # A separator in the buffer but outside this slice only causes a needless escape.
    data = column.buffers()[2]
    text = b"" if data is None else data.to_pybytes()
    return b"\x1f" in text or b"\x1e" in text


def hash_ids(ids: Any) -> Hashes:
    """Hash each id without surrounding blanks; null hashes like an empty id.

    Eight bytes at a time go through SplitMix64's finalizer, for all ids at once: one BLAKE2b call
    per id took as long as parsing the file. Nobody gains from a collision.

    Args:
        ids: `string` array, shape (n,).
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    trimmed = pc.fill_null(pc.utf8_trim_whitespace(ids), "")
    hashes = np.empty(len(trimmed), dtype=np.uint64)
    if not len(trimmed):
        return hashes
    _, offsets_buffer, data_buffer = trimmed.buffers()
    offsets = np.frombuffer(offsets_buffer, dtype=np.int32)[
        trimmed.offset : trimmed.offset + len(trimmed) + 1
    ]
    data = np.frombuffer(data_buffer or b"", dtype=np.uint8)
    lengths = np.diff(offsets)
    for length in np.unique(lengths):
        positions = np.flatnonzero(lengths == length)
        words = np.zeros((len(positions), -(-int(length) // 8) * 8), dtype=np.uint8)
        if length:
            words[:, :length] = data[offsets[:-1][positions][:, None] + np.arange(length)]
        hashes[positions] = _hash_words(words.view("<u8"), int(length))
    return hashes


def _hash_words(words: npt.NDArray[np.uint64], length: int) -> Hashes:
    hashes = np.full(len(words), length, dtype=np.uint64)
    for column in range(words.shape[1]):
        hashes = _mix((hashes ^ words[:, column]) + _GAMMA)
    return _mix(hashes + _GAMMA)


def _mix(value: Hashes) -> Hashes:
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    result: Hashes = value ^ (value >> np.uint64(31))
    return result


def filled(ids: Any) -> npt.NDArray[np.bool_]:
    """Return which ids aren't blank, shape (n,)."""
    is_filled = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(ids)), 0)
    mask: npt.NDArray[np.bool_] = pc.fill_null(is_filled, False).to_numpy(zero_copy_only=False)
    return mask


def changes(hashes: Hashes) -> npt.NDArray[np.bool_]:
    """Return which hashes differ from the previous one, shape (n,)."""
    changed = np.ones(len(hashes), dtype=bool)
    np.not_equal(hashes[1:], hashes[:-1], out=changed[1:])
    return changed


def among(hashes: Hashes, hash_set: Hashes) -> npt.NDArray[np.bool_]:
    """Return which hashes are in a set, shape (n,); fastest if equal hashes are adjacent.

    Args:
        hashes: in any order.
        hash_set: the set, ascending.
    """
    if not len(hashes) or not len(hash_set):
        return np.zeros(len(hashes), dtype=bool)
    changed = changes(hashes)
    distinct = hashes[changed]
    index = np.minimum(np.searchsorted(hash_set, distinct), len(hash_set) - 1)
    is_among: npt.NDArray[np.bool_] = (hash_set[index] == distinct)[np.cumsum(changed) - 1]
    return is_among


def is_among(ids: pa.Array, hashes: Hashes) -> pa.BooleanArray:
    """Return which ids are in a set of hashes, shape (n,), never null; blank ids aren't."""
    if not len(ids) or not len(hashes):
        return pa.array(np.zeros(len(ids), dtype=bool))
    return pa.array(among(hash_ids(ids), hashes) & filled(ids))
