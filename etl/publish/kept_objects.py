"""Objects that store a value: how they are named, read and written.

Such an object is canonical JSON of one dataclass or struct and ends with a line break. Its key has
the SHA-256 of its bytes, and the manifest names it by an `ObjectRef`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from etl.errors import DamagedObject, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import dumps, sha256
from etl.storage.port import Store, Tagged

MEMORY: Final = "memory/"
"""Folder of objects that a release keeps for the next run."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """An object that a manifest names.

    Attributes:
        key: its key.
        sha256: of its bytes.
        bytes: its size.
    """

    key: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class RangeRef(ObjectRef):
    """An object of some partitions that follow each other.

    Attributes:
        first: the first of them.
        end: the one after the last.
    """

    first: int
    end: int

    @classmethod
    def from_ref(cls, ref: ObjectRef, partitions: range) -> RangeRef:
        """Return the reference with the range of its partitions."""
        return cls(ref.key, ref.sha256, ref.bytes, partitions.start, partitions.stop)

    def touches(self, indexes: range, count: int, old_count: int) -> bool:
        """Return whether members of current partitions may be in this previous range."""
        return (
            self.first * count < indexes.stop * old_count
            and indexes.start * old_count < self.end * count
        )


class _Versioned(msgspec.Struct):
    format: int


def read_verified(store: Store, key: str, expected_digest: str | None = None) -> bytes:
    """Read a whole object and verify its SHA-256: the given one or its key's.

    Raises:
        NotFound: it is missing.
        DamagedObject: its bytes do not match the hash.
    """
    data = store.get(key)
    if sha256(data) != (expected_digest or object_keys.digest_of(key)):
        raise DamagedObject(
            f"{store.name}: {key} is damaged: its bytes do not have its hash; run verify"
        )
    return data


def read_or_none(store: Store, key: str) -> Tagged | None:
    """Return an object with its tag; None if it is missing."""
    try:
        return store.read(key)
    except NotFound:
        return None


def to_bytes(value: Any) -> bytes:
    """Return a value as canonical JSON with a line break at the end."""
    return dumps(msgspec.to_builtins(value)) + b"\n"


def from_bytes(data: bytes, kind: type[Value], label: str, formats: tuple[int, ...]) -> Value:
    """Parse an object's bytes into a value.

    Args:
        data: the bytes.
        kind: class of the value.
        label: what messages call the object.
        formats: values of `format` that this program reads.

    Raises:
        StoreError: the bytes are not such a value, or are of a later format.
    """
    try:
        stated_format = msgspec.json.decode(data, type=_Versioned).format
        if stated_format not in formats:
            raise StoreError(
                f"{label} is of format {stated_format}, which this version cannot read; "
                "use the version that wrote it, or a later one"
            )
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        raise StoreError(f"{label} is damaged: it is not what its name says; run verify") from None


@dataclass(frozen=True, slots=True)
class KeptKind(Generic[Value]):
    """A kind of object that releases keep for later runs.

    Attributes:
        suffix: end of the keys of its objects.
        parse: bytes and a label for messages -> their value; raises `StoreError` for damaged ones.
        folder: folder of its objects.
    """

    suffix: str
    parse: Callable[[bytes, str], Value]
    folder: str = MEMORY

    def matches(self, ref: ObjectRef) -> bool:
        """Return whether an object is of this kind."""
        return ref.key.startswith(self.folder) and ref.key.endswith(self.suffix)


def json_kind(
    suffix: str, value_type: type[Value], formats: tuple[int, ...] = (1,), folder: str = MEMORY
) -> KeptKind[Value]:
    """Return a kind of objects that `to_bytes` makes of one dataclass or struct."""
    return KeptKind(
        suffix, lambda data, label: from_bytes(data, value_type, label, formats), folder
    )


DICTIONARY: Final = KeptKind(".json", lambda data, _: data, object_keys.DICTIONARY)
"""The data dictionary of a release."""
