"""The identity of a tree's logical ids: which payer id and which id key they were made with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_SALT: Final = b"cpcds: fingerprint of the id key"
_COST: Final = 1 << 14


@lru_cache(maxsize=4)
def id_facts(payer: str, key: bytes) -> Mapping[str, str]:
    """Return what a manifest says of the ids in its release: `payer`, and `key`, a fingerprint.

    The fingerprint is scrypt (RFC 7914) of the key over a constant, so that it does not give the
    key away: each guess costs some 50 ms and 16 MiB, and a random key cannot be guessed at all.

    Args:
        payer: the payer's id, a part of every logical id.
        key: the key of the hash behind logical ids.
    """
    digest = hashlib.scrypt(key, salt=_SALT, n=_COST, r=8, p=1, dklen=16)
    return {"payer": payer, "key": digest.hex()}


def changed_ids(there: Mapping[str, object], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Return the inputs of logical ids that differ from those of a release: `payer`, `key`.

    Args:
        there: what the release's manifest says; empty for a release that is older than these
            facts, with which nothing is compared.
        wanted: `id_facts` of a run.
    """
    return tuple(name for name in wanted if name in there and there[name] != wanted[name])
