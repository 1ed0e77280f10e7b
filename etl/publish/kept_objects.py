"""Objects of a target that hold a value: how they are named, read and written.

Such an object is canonical JSON of one dataclass or struct and ends with a line break. Its key has
the SHA-256 of its bytes, and the manifest names it by an `ObjectRef`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from etl.errors import DamagedObject, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import dumps, sha256
from etl.storage.port import Store, Tagged

MEMORY: Final = "memory/"
"""Folder of what a release keeps for the next run."""

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
    def of(cls, ref: ObjectRef, partitions: range) -> RangeRef:
        """Return an object with the partitions that it is of."""
        return cls(ref.key, ref.sha256, ref.bytes, partitions.start, partitions.stop)

    def touches(self, indexes: range, now: int, before: int) -> bool:
        """Return whether members of some of `now` partitions may be in this range of `before`."""
        return self.first * now < indexes.stop * before and indexes.start * before < self.end * now


class _Versioned(msgspec.Struct):
    format: int


def checked(store: Store, key: str, digest: str | None = None) -> bytes:
    """Return a whole object, checked against the given SHA-256 or the one in its key.

    Raises:
        NotFound: it is missing.
        DamagedObject: it is.
    """
    data = store.get(key)
    if sha256(data) != (digest or object_keys.digest_of(key)):
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


def from_bytes(data: bytes, kind: type[Value], what: str, formats: tuple[int, ...]) -> Value:
    """Return the value of an object's bytes.

    Args:
        data: the bytes.
        kind: class of the value.
        what: what messages call the object.
        formats: values of `format` that this program reads.

    Raises:
        StoreError: the bytes are something else, or of a later format.
    """
    try:
        stated = msgspec.json.decode(data, type=_Versioned).format
        if stated not in formats:
            raise StoreError(
                f"{what} is of format {stated}, which this version cannot read; "
                "use the version that wrote it, or a later one"
            )
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError:
        raise StoreError(f"{what} is damaged: it is not what its name says; run verify") from None


def read_object(
    store: Store, ref: ObjectRef, kind: type[Value], formats: tuple[int, ...] = (1,)
) -> Value:
    """Return the value that an object holds.

    Raises:
        NotFound: the object is missing.
        StoreError: it is damaged, or of a later format.
    """
    data = checked(store, ref.key, ref.sha256)
    return from_bytes(data, kind, f"{store.name}: {ref.key}", formats)


def write_object(store: Store, folder: str, value: Any, ending: str) -> ObjectRef:
    """Write a value as an object, and return how a manifest names it."""
    return put_by_content(store, folder, to_bytes(value), ending)


def write_list(
    store: Store, folder: str, value: Any, ending: str, listed: Iterable[ObjectRef]
) -> list[ObjectRef]:
    """Write a value that lists objects; return all that a manifest is to name, each once."""
    objects = {ref.key: ObjectRef(ref.key, ref.sha256, ref.bytes) for ref in listed}
    written = write_object(store, folder, value, ending)
    return [written, *(objects[key] for key in sorted(objects))]


def put_by_content(store: Store, folder: str, data: bytes, ending: str) -> ObjectRef:
    """Write an object that is named after its content: `<folder><sha256>.<ending>`."""
    digest = sha256(data)
    key = f"{folder}{digest}.{ending}"
    store.put(key, data)
    return ObjectRef(key, digest, len(data))
