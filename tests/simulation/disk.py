"""What storage holds, and two ways to it: a folder, and a bucket behind `S3Store`."""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache, partial
from operator import attrgetter

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from etl.errors import CommitUnknown, StoreError
from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.memory_store import MemoryStore
from tests.simulation.world import Killed

_PAGE = 7
"""Keys of one page of a listing: between two pages others write and delete."""
_URL = "http://storage.example"


@lru_cache(maxsize=10_000)
def digest(data):
    return hashlib.sha256(data).hexdigest()


class Disk(MemoryStore):
    """Objects by key, and who changed them.

    Attributes:
        changes: how many writes and deletions there were.
        writers: key -> the process that wrote it last.
        deleted: key -> the process that deleted it last.
        marks: key -> metadata of the write, in a bucket.
    """

    def __init__(self, world):
        super().__init__(lambda: world.now)
        self.changes = 0
        self.writers = {}
        self.deleted = {}
        self.marks = {}

    def data(self, key):
        """Return an object, or None."""
        return self._objects.get(key, (None,))[0]

    def tag(self, key):
        """Return the SHA-256 of an object, or None."""
        data = self.data(key)
        return None if data is None else digest(data)

    def note_write(self, by, key, mark=""):
        """Note that a process wrote an object."""
        self.changes += 1
        self.writers[key], self.marks[key] = by, mark

    def remove(self, by, key):
        """Delete an object."""
        if self._objects.pop(key, None) is not None:
            self.changes += 1
            self.deleted[key] = by

    def is_trivial(self, prefix):
        """Return whether a listing is one of a prune's many that have nothing in them.

        They are no steps worth taking: no other process ever looks at what they look at.
        """
        is_cut = prefix.startswith(("patients/", "directory/"))
        return is_cut and not any(key.startswith(prefix) for key in self._objects)

    def pages(self, prefix):
        """Yield pages of a listing, each as things are when it is asked for."""
        last = ""
        while True:
            listed = sorted(self.list(prefix), key=attrgetter("key"))
            found = [entry for entry in listed if entry.key > last]
            page = found[:_PAGE]
            yield page
            if len(found) <= _PAGE:
                return
            last = page[-1].key


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
        return self._disk.read(key)

    def put(self, key, data):
        return self._write("put", key, partial(self._disk.put, key, data), StoreError)

    def swap(self, key, data, expected):
        write = partial(self._disk.swap, key, data, expected)
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
            do = partial(self._disk.remove, self._process.name, key)
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
        self._disk.note_write(self._process.name, key)
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
            there = self._disk.tag(Key)
            if IfMatch is not None and there is None:
                raise _answer(404, "NoSuchKey")
            if there is not None and (IfNoneMatch is not None or there != (IfMatch or there)):
                raise _answer(412, "PreconditionFailed")
            self._disk.note_write(self._process.name, Key, mark)
            return {"ETag": self._disk.swap(Key, Body, there)}

        return self._call("swap" if IfMatch or mark else "put", Key, write)

    def get_object(self, *, Key, Range="", **_):
        def read():
            data = whole = self._there(Key)
            if Range:
                start, _, last = Range.removeprefix("bytes=").partition("-")
                if int(start) >= len(data):
                    raise _answer(416, "InvalidRange")
                data = data[int(start) : int(last) + 1]
            return {"Body": io.BytesIO(data), "ETag": digest(whole)}

        return self._call("get", Key, read)

    def head_object(self, *, Key, **_):
        def read():
            tag = digest(self._there(Key))
            return {"ETag": tag, "Metadata": {"swapped-by": self._disk.marks[Key]}}

        return self._call("get", Key, read)

    def delete_objects(self, *, Delete, **_):
        keys = [one["Key"] for one in Delete["Objects"]]

        def write():
            for key in keys:
                self._disk.remove(self._process.name, key)
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
        data = self._disk.data(key)
        if data is None:
            raise _answer(404, "NoSuchKey")
        return data

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
