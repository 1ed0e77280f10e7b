"""Objects of a bucket that somebody else wrote: under any key, read in ranges of one state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from etl.storage.s3 import S3Store


@dataclass(frozen=True, slots=True)
class S3Object:
    """An object, or a folder of objects, as a listing shows it.

    Attributes:
        name: its key behind the prefix.
        bytes: its size; 0 of a folder.
        tag: its ETag; "" of a folder.
    """

    name: str
    bytes: int
    tag: str

    @property
    def is_folder(self) -> bool:
        """Whether it stands for the objects below a common prefix."""
        return not self.tag


class S3Prefix(S3Store):
    """A prefix of a bucket whose objects may have any key. Rights to list and to read suffice."""

    def objects(self) -> Iterator[S3Object]:
        """Yield what lies directly under the prefix.

        Raises:
            StoreError: the server refused, or did not answer.
        """
        with self._explained("list", "the prefix"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix, Delimiter="/"
            )
            for page in pages:
                for folder in page.get("CommonPrefixes", ()):
                    yield S3Object(folder["Prefix"][len(self._prefix) :].rstrip("/"), 0, "")
                for item in page.get("Contents", ()):
                    name = item["Key"][len(self._prefix) :]
                    if name:  # some clients make an empty object for a folder
                        yield S3Object(name, item["Size"], item["ETag"])

    def find(self, name: str) -> S3Object | None:
        """Return an object; None where there is none of that name.

        Raises:
            StoreError: the server refused, or did not answer.
        """
        with self._explained("list", name):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + name, MaxKeys=1
            )
        for item in answer.get("Contents", ()):
            if item["Key"] == self._prefix + name:
                return S3Object(name, item["Size"], item["ETag"])
        return None

    def part(self, item: S3Object, start: int, length: int) -> bytes:
        """Return bytes of an object in the state in which it was listed.

        Args:
            item: the object.
            start: the first byte, inside of it.
            length: how many bytes, at least 1; fewer come where the object ends before.

        Raises:
            CommitConflict: it was replaced since.
            NotFound: it was deleted since.
            StoreError: the server refused, or did not answer.
        """
        span = {"Range": f"bytes={start}-{start + length - 1}", "IfMatch": item.tag}
        return self._read(item.name, span).data

    def _key(self, key: str) -> str:
        return self._prefix + key
