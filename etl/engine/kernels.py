"""Column kernels: whole columns of text in, whole columns of text out.

Every kernel takes and returns `pa.StringArray`s of one length, null where absent. They avoid what
is slow at this size: regular expressions, slicing of UTF-8, and needless copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import text_bytes
from etl.mapping.environment import Environment
from etl.model.logical_ids import ID_BYTES

_QUOTE, _BACKSLASH, _FIRST_PRINTABLE = 0x22, 0x5C, 0x20
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS: Final = np.frombuffer(
    "".join(first + second for first in _BASE32 for second in _BASE32).encode(), dtype=np.uint16
)
"""Ten bits -> the two characters that they are in base 32, as one number."""
_TENS: Final = np.array([30, 20, 10, 0], dtype=np.uint64)
_ID_CHARACTERS: Final = ID_BYTES * 8 // 5
_SHORT: Final = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r"}
_CONTROLS: Final = tuple((chr(code), _SHORT.get(code, f"\\u{code:04x}")) for code in range(0x20))


def escaped(column: pa.StringArray) -> pa.StringArray:
    """Return a column as it stands between the quotes of JSON (RFC 8259 §7).

    Few columns need it, so the bytes are scanned once first.
    """
    data = text_bytes(column)
    odd = (data < _FIRST_PRINTABLE) | (data == _QUOTE) | (data == _BACKSLASH)
    if not odd.any():
        return column
    bytes_found = np.unique(data[odd])
    result = column
    if _BACKSLASH in bytes_found:  # first: the others put backslashes in
        result = pc.replace_substring(result, "\\", "\\\\")
    if _QUOTE in bytes_found:
        result = pc.replace_substring(result, '"', '\\"')
    for byte in bytes_found[bytes_found < _FIRST_PRINTABLE]:
        result = pc.replace_substring(result, *_CONTROLS[byte])
    return result


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
    fives = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, 5)
    numbers = np.zeros((len(fives), 8), dtype=np.uint8)
    numbers[:, 3:] = fives
    tens = numbers.view(">u8").astype(np.uint64) >> _TENS & np.uint64(0x3FF)
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * np.int32(_ID_CHARACTERS)
    return pa.StringArray.from_buffers(len(keys), pa.py_buffer(offsets), pa.py_buffer(_PAIRS[tens]))
