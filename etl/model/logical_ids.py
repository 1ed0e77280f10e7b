"""Logical IDs: keyed hashes of business keys, the same in every process."""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

ID_BYTES: Final = 20
"""Bytes of the hash behind a logical id: 160 bits, written as 32 base-32 characters."""

_SEPARATOR: Final = b"\x1f"


def salt(payer: str, resource: str) -> bytes:
    """Return the prefix of a resource type's business keys in the hash."""
    return resource.encode() + _SEPARATOR + payer.encode() + _SEPARATOR


def logical_id(payer: str, id_key: bytes, resource: str, key: str) -> str:
    """Compute the logical ID of a resource from its type and business key.

    A keyed BLAKE2b hash (RFC 7693) in lower-case base 32 (RFC 4648 §6): stable across runs, and
    impossible to compute from the business key without the payer's hash key.

    Args:
        payer: the payer's id; part of every logical id.
        id_key: key of the hash, at most 64 bytes.
        resource: FHIR type.
        key: the business key, such as a Patient's member ID.
    """
    digest = blake2b(
        salt(payer, resource) + key.encode(), digest_size=ID_BYTES, key=id_key
    ).digest()
    return base64.b32encode(digest).decode().lower()
