"""Logical ids: keyed hashes of business keys, the same wherever they are made."""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

ID_BYTES: Final = 20
"""Bytes of the hash behind a logical id: 160 bits, written as 32 base-32 characters."""

_SEPARATOR: Final = b"\x1f"


def salt(payer: str, resource: str) -> bytes:
    """Return what goes before the business key of a resource type when it is hashed."""
    return resource.encode() + _SEPARATOR + payer.encode() + _SEPARATOR


def logical_id(payer: str, id_key: bytes, resource: str, key: str) -> str:
    """Return the logical id of the resource of that type and business key.

    A keyed BLAKE2b hash (RFC 7693) in lower-case base 32 (RFC 4648 §6): stable over runs, and
    not to be guessed from the business key without the payer's own hash key.

    Args:
        payer: the payer's id; part of every logical id.
        id_key: key of the hash, at most 64 bytes.
        resource: FHIR type.
        key: the business key: for a Patient the member id.
    """
    digest = blake2b(
        salt(payer, resource) + key.encode(), digest_size=ID_BYTES, key=id_key
    ).digest()
    return base64.b32encode(digest).decode().lower()
