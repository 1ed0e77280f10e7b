"""What storage holds, and two ways to it: a folder, and a bucket behind `S3Store`."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from etl.errors import CommitConflict, CommitUnknown, NotFound, StoreError
from etl.storage.port import Entry, StoreOptions, Tagged
from etl.storage.s3 import S3Store
from tests.simulation.world import Killed

_PAGE = 7
"""Keys of one page of a listing: between two pages others write and delete."""
_URL = "http://storage.example"


@dataclass(frozen=True, slots=True)
class Held:
    """An object.

    Attributes:
        data: its bytes.
        sha256: of them.
        modified: when it was written.
        by: the process that wrote it.
        mark: metadata of the write, in a bucket.
    """

    data: bytes
    sha256: str
    modified: datetime
    by: str
    mark: str = ""


class Disk:
    """Objects by key.

    Attributes:
        objects: them.
        changes: how many writes and deletions there were.
        deleted: key -> the process that deleted it last.
    """

    def __init__(self, world):
        self._world = world
        self.objects = {}
        self.changes = 0
        self.deleted = {}

    def write(self, by, key, data, mark=""):
        """Write an object, whatever was there."""
        digest = hashlib.sha256(data).hexdigest()
        self.objects[key] = Held(bytes(data), digest, self._world.now, by, mark)
        self.changes += 1

    def delete(self, by, key):
        """Delete an object."""
        if self.objects.pop(key, None) is not None:
            self.changes += 1
            self.deleted[key] = by

    def is_trivial(self, prefix):
        """Return whether a listing is one of a prune's many that have nothing in them.

        They are no steps worth taking: no other process ever looks at what they look at.
        """
        is_cut = prefix.startswith(("patients/", "directory/"))
        return is_cut and not any(key.startswith(prefix) for key in self.objects)

    def pages(self, prefix):
        """Yield pages of a listing, each as things are when it is asked for."""
        last = ""
        while True:
            found = sorted(key for key in self.objects if key.startswith(prefix) and key > last)
            page = found[:_PAGE]
            yield [
                Entry(key, len(self.objects[key].data), self.objects[key].modified) for key in page
            ]
            if len(found) <= _PAGE:
                return
            last = page[-1]


class Folder:
    """What `LocalStore` promises, each call a step. A write that fails may have taken place."""

    name = "folder"
    concurrency = 1

    def __init__(self, disk, process):
        self._disk = disk
        self._process = process

    def get(self, key):
        return self.read(key).data

    def get_range(self, key, start, length):
        return self.get(key)[start : start + length]

    def read(self, key):
        self._refuse(self._process.call("get", key), key)
        held = self._disk.objects.get(key)
        if held is None:
            raise NotFound(f"folder: there is no object {key}")
        return Tagged(held.data, held.sha256)

    def put(self, key, data):
        def write():
            there = self._disk.objects.get(key)
            if there is None or there.data != data:
                self._disk.write(self._process.name, key, data)
            return there is None

        return self._write("put", key, write, StoreError)

    def swap(self, key, data, expected):
        def write():
            there = self._disk.objects.get(key)
            if (there.sha256 if there is not None else None) != expected:
                raise CommitConflict(f"folder: {key} was changed by someone else")
            self._disk.write(self._process.name, key, data)
            return hashlib.sha256(data).hexdigest()

        return self._write("swap", key, write, CommitUnknown)

    def list(self, prefix=""):
        pages = self._disk.pages(prefix)
        while not self._disk.is_trivial(prefix):
            self._refuse(self._process.call("list", prefix), prefix)
            page = next(pages, None)
            if page is None:
                return
            yield from page

    def delete(self, keys):
        count = 0
        for key in keys:
            do = partial(self._disk.delete, self._process.name, key)
            self._write("delete", key, do, StoreError)
            count += 1
        return count

    def sync(self):
        self._refuse(self._process.call("get", "sync"), "sync")

    def clean(self, older_than):
        return 0

    def _write(self, what, key, do, lost):
        fate = self._process.call(what, key, can_be_late=False)
        self._refuse(fate, key)
        done = do()
        if fate == "dies after":
            raise Killed
        if fate == "lost":
            raise lost(f"folder: {key} was written, and may not survive a power cut")
        return done

    def _refuse(self, fate, key):
        if fate == "refused":
            raise StoreError(f"folder: no space left for {key}")


class Client:
    """The calls of boto3 that `S3Store` makes, on a bucket that is a `Disk`."""

    def __init__(self, disk, process):
        self._disk = disk
        self._process = process

    def put_object(self, *, Key, Body, IfMatch=None, IfNoneMatch=None, Metadata=None, **_):
        mark = (Metadata or {}).get("swapped-by", "")

        def write():
            there = self._disk.objects.get(Key)
            if IfNoneMatch is not None and there is not None:
                raise _answer(412, "PreconditionFailed")
            if IfMatch is not None and there is None:
                raise _answer(404, "NoSuchKey")
            if IfMatch is not None and there is not None and there.sha256 != IfMatch:
                raise _answer(412, "PreconditionFailed")
            self._disk.write(self._process.name, Key, Body, mark)
            return {"ETag": hashlib.sha256(Body).hexdigest()}

        return self._call("swap" if IfMatch or mark else "put", Key, write)

    def get_object(self, *, Key, Range="", **_):
        def read():
            held = self._there(Key)
            data = held.data
            if Range:
                start, _, last = Range.removeprefix("bytes=").partition("-")
                if int(start) >= len(data):
                    raise _answer(416, "InvalidRange")
                data = data[int(start) : int(last) + 1]
            return {"Body": io.BytesIO(data), "ETag": held.sha256}

        return self._call("get", Key, read)

    def head_object(self, *, Key, **_):
        def read():
            held = self._there(Key)
            return {"ETag": held.sha256, "Metadata": {"swapped-by": held.mark}}

        return self._call("get", Key, read)

    def delete_objects(self, *, Delete, **_):
        keys = [one["Key"] for one in Delete["Objects"]]

        def write():
            for key in keys:
                self._disk.delete(self._process.name, key)
            return {}

        return self._call("delete", " ".join(keys), write)

    def get_paginator(self, name):
        return self

    def paginate(self, *, Prefix, **_):
        pages = self._disk.pages(Prefix)
        while not self._disk.is_trivial(Prefix):
            page = self._call("list", Prefix, lambda: next(pages, None))
            if page is None:
                return
            yield {
                "Contents": [
                    {"Key": one.key, "Size": one.size, "LastModified": one.modified} for one in page
                ]
            }

    def _there(self, key):
        held = self._disk.objects.get(key)
        if held is None:
            raise _answer(404, "NoSuchKey")
        return held

    def _call(self, what, key, do):
        fate = self._process.call(what, key)
        if fate == "refused":
            raise EndpointConnectionError(endpoint_url=_URL)
        if fate == "late":
            self._process.world.later(f"{what} {key}", lambda: _ignoring(do))
            raise ReadTimeoutError(endpoint_url=_URL)
        if fate == "twice":
            _ignoring(do)
        if fate == "lost":
            _ignoring(do)
            raise ReadTimeoutError(endpoint_url=_URL)
        done = do()
        if fate == "dies after":
            raise Killed
        return done


def _ignoring(do):
    try:
        do()
    except ClientError:
        return


def _answer(status, code):
    told = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(told, "simulated")


def store_of(kind, disk, process):
    """Return a process's own way to what is on the disk."""
    if kind == "folder":
        return Folder(disk, process)
    client = Client(disk, process)
    return S3Store("bucket", "", StoreOptions(concurrency=1), client=client)
