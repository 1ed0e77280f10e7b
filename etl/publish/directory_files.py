"""Files of a provider directory that anyone may fetch: bulk files by type, and Plan Finder files.

Both are made from all shards of each release. A file has the resources of one type whose name
hashes (SHA-256 of `Type/id`) begin with the same bits, with as few bits as its limits allow. So the
files follow from the resources alone, not from earlier files: a changed resource changes one file
of each series, and one resource too many splits its file.

A release stores a hash of the inputs of each file. If the next release has a file with the same
inputs, it reuses the file without reading its resources (docs/decisions/0044-directory-files.md).

The form of Plan Finder files is known from implementers, not from a published guide
(docs/decisions/0044-directory-files.md).
"""

from __future__ import annotations

import gzip
import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate, chain
from pathlib import Path
from typing import Final

import deflate
import msgspec

from etl.errors import StoreError
from etl.publish.block import rank
from etl.publish.bulk_files import BulkOptions, PlanFinderOptions, Spool
from etl.publish.canonical_json import JSON, dumps, sha256
from etl.publish.catalog import CatalogEntry
from etl.publish.directory_graph import NAME_HASH_BITS, PLAN_FINDER_TYPES, DirectoryGraph
from etl.publish.kept_objects import json_kind, read_verified
from etl.publish.reader import Release, lines_of, open_index, read_all, read_parts
from etl.storage.parallel import Writer, map_concurrently
from etl.storage.port import Store

BULK: Final = "bulk/"
PLAN_FINDER: Final = "plan-finder/"

_FULL_URL: Final = re.compile(rb'"fullUrl":"([^"]*)/[^/"]+/[^/"]+"')
_INPUTS_FORMAT: Final = 1
_GZIP_LEVEL: Final = 1
_CONTRACTS_AT_ONCE: Final = 16
"""Contracts whose files are filled in one pass over the shards; each has up to six open files."""
_BATCH_ENTRIES: Final = 256
"""Resources that are written to a file together."""


class FileInputs(msgspec.Struct, frozen=True):
    """The files of a release by the hash of their inputs.

    Attributes:
        format: version of this object.
        inputs: hash of the inputs → key of the file.
    """

    format: int
    inputs: Mapping[str, str]


FILE_INPUTS: Final = json_kind(".files", FileInputs, (_INPUTS_FORMAT,))


@dataclass(frozen=True, slots=True)
class MadeFiles:
    """The files of a release of a directory.

    Attributes:
        bulk: `bulk` of its manifest.
        inputs: the files that the next release may reuse.
    """

    bulk: JSON
    inputs: FileInputs


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """Files of the previous release by the hash of their inputs.

    Attributes:
        store: the target.
        files: hash of the inputs → the file's entry in its manifest.
    """

    store: Store
    files: Mapping[str, JSON] = field(default_factory=dict)

    @classmethod
    def from_release(cls, release: Release) -> KnownFiles:
        """Return the reusable files of a release; none if their inputs are unknown."""
        try:
            stored = release.read(FILE_INPUTS)
        except StoreError:  # lost or damaged: `verify` reports it
            stored = None
        if stored is None:
            return cls(release.store)
        by_key = {file["key"]: file for file in all_files(release.manifest.bulk)}
        files = {digest: by_key[key] for digest, key in stored.inputs.items() if key in by_key}
        return cls(release.store, files)

    def find_intact(self, planned: Iterable[_PlannedFile]) -> Iterator[JSON | None]:
        """Yield the matching intact file of each planned file, else None."""

        def verify(file: JSON | None) -> JSON | None:
            try:
                if file and read_verified(self.store, file["key"], file["sha256"]):
                    return file
            except StoreError:
                pass
            return None

        return map_concurrently(
            self.store, verify, (self.files.get(plan.inputs) for plan in planned)
        )


@dataclass(frozen=True, slots=True)
class _Form:
    """The format of a file, and its limits.

    Attributes:
        folder: folder of the object.
        ending: ending of the object's key, before `.gz`.
        head: text before the first resource.
        between: text between two resources.
        tail: text after the last resource.
        base: URL before `/Type/id` in `fullUrl`; None for a format without `fullUrl`.
        entries: most resources in a file.
        size: most uncompressed bytes in a file; a larger resource is alone in its file.
    """

    folder: str
    ending: str
    head: bytes
    between: bytes
    tail: bytes
    base: str | None
    entries: int
    size: int

    def entry(self, reference: bytes, resource_json: bytes) -> bytes:
        """Return a resource as it is written in the file."""
        if self.base is None:
            return resource_json
        return b'{"fullUrl":"%s/%s","resource":%s}' % (self.base.encode(), reference, resource_json)

    @property
    def inputs(self) -> bytes:
        """Everything that determines the bytes of a file, besides its resources."""
        framing = self.head, self.entry(b"Type/id", b"{}"), self.between, self.tail
        texts = [self.folder, self.ending, *(text.decode() for text in framing)]
        return dumps([*texts, _GZIP_LEVEL, version("deflate")])


def _ndjson_form(options: BulkOptions) -> _Form:
    limits = (options.directory_entries, options.directory_bytes)
    return _Form(BULK, "ndjson", b"", b"\n", b"\n", None, *limits)


def _bundle_form(options: PlanFinderOptions) -> _Form:
    head = b'{"resourceType":"Bundle","type":"collection","entry":[\n'
    base = options.fhir_base.rstrip("/")
    return _Form(PLAN_FINDER, "json", head, b",\n", b"\n]}\n", base, options.entries, options.bytes)


@dataclass(frozen=True, slots=True)
class _PlannedFile:
    """A file of resources of one type that is to be written or reused.

    Attributes:
        type: FHIR type.
        form: its format.
        numbers: numbers of its resources, ordered by place.
        inputs: hash of everything that determines its bytes.
    """

    type: str
    form: _Form
    numbers: array[int]
    inputs: str


def _plan_files(
    resource_type: str, form: _Form, numbers: array[int], graph: DirectoryGraph
) -> Iterator[_PlannedFile]:
    """Split resources of one type, ordered by name hash, into files."""
    entry_overhead = len(form.between) + len(form.entry(b"", b""))
    sizes = [graph.sizes[number] + entry_overhead for number in numbers]
    if form.base is not None:
        name_lengths = [len(graph.names[number]) for number in numbers]
        sizes = [size + name_length for size, name_length in zip(sizes, name_lengths, strict=True)]
    entry_bytes = form.size - len(form.head) - len(form.tail) + len(form.between)
    name_hashes = [graph.name_hashes[number] for number in numbers]
    first, prefix = 0, dumps(resource_type) + form.inputs
    for count in split_by_hash(name_hashes, sizes, form.entries, entry_bytes):
        batch = numbers[first : first + count]
        yield _PlannedFile(resource_type, form, batch, sha256(prefix + graph.content_hashes(batch)))
        first += count


def split_by_hash(
    name_hashes: Sequence[int], sizes: Sequence[int], max_entries: int, max_bytes: int
) -> Iterator[int]:
    """Yield how many resources go into each file, by halving the range of hashes.

    Args:
        name_hashes: the first 64 bits of each name hash, ascending.
        sizes: bytes of each resource.
        max_entries: most resources of a file.
        max_bytes: most bytes of a file.
    """
    running_sizes = [0, *accumulate(sizes)]

    def split_range(first: int, end: int, start_hash: int, bits: int) -> Iterator[int]:
        fits = end - first <= max_entries and running_sizes[end] - running_sizes[first] <= max_bytes
        if fits or end - first == 1 or not bits:
            if end > first:
                yield end - first
            return
        middle_hash = start_hash + (1 << (bits - 1))
        middle_index = bisect_left(name_hashes, middle_hash, first, end)
        yield from split_range(first, middle_index, start_hash, bits - 1)
        yield from split_range(middle_index, end, middle_hash, bits - 1)

    return split_range(0, len(name_hashes), 0, NAME_HASH_BITS)


def write_directory_files(
    writer: Writer,
    release: Release,
    previous_bulk: Mapping[str, JSON],
    reusable_files: KnownFiles,
    options: BulkOptions,
) -> MadeFiles:
    """Write the files of an assembled release that is not committed yet.

    Args:
        writer: writes the files.
        release: one without members.
        previous_bulk: `bulk` of the previous release; unchanged files keep its `modified`.
        reusable_files: files to reuse if their inputs are the same.
        options: limits and sizes.

    Raises:
        StoreError: storage failed, or the work folder's disk is full.
    """
    graph = DirectoryGraph()
    files = _Files(writer, _Shards(release, graph), reusable_files, options)
    form = _ndjson_form(options)
    types = sorted(graph.types, key=rank)
    planned = [_plan_files(type_name, form, graph.of_type(type_name), graph) for type_name in types]
    (output,) = files.write_groups([list(chain.from_iterable(planned))])
    plan_finder: list[JSON] = []
    form = _bundle_form(options.plan_finder)
    contracts = sorted(graph.plans) if release.manifest.subject.model.has_plan_finder else []
    for start in range(0, len(contracts), _CONTRACTS_AT_ONCE):
        batch = contracts[start : start + _CONTRACTS_AT_ONCE]
        groups = [_plan_contract(graph.of_plans(graph.plans[key]), form, graph) for key in batch]
        plan_finder += [
            {"contract": contract, "year": year, "files": written}
            for (contract, year), written in zip(batch, files.write_groups(groups), strict=True)
        ]
    snapshot = {
        "time": release.manifest.created,
        "after": release.manifest.parent,
        "output": output,
    }
    bulk = {"snapshot": snapshot, "increments": [], "increment": None, "planFinder": plan_finder}
    return MadeFiles(_set_modified_times(bulk, previous_bulk), files.inputs())


def _plan_contract(selected: bytearray, form: _Form, graph: DirectoryGraph) -> list[_PlannedFile]:
    """Plan the files of one contract and year from flags by resource number."""
    return [
        file
        for type_name in PLAN_FINDER_TYPES
        for file in _plan_files(
            type_name,
            form,
            array("L", filter(selected.__getitem__, graph.of_type(type_name))),
            graph,
        )
    ]


def all_files(bulk: Mapping[str, JSON]) -> list[JSON]:
    """Return the files in a manifest's `bulk`, Plan Finder included; may repeat."""
    snapshot = bulk["snapshot"]["output"] if bulk else []
    return [*snapshot, *_plan_finder_files(bulk)]


def _plan_finder_files(bulk: Mapping[str, JSON]) -> list[JSON]:
    return [file for plans in bulk.get("planFinder", ()) for file in plans["files"]]


def full_url_base(release: Release) -> str | None:
    """Return the FHIR base of `fullUrl` in a release's Plan Finder files.

    Returns:
        None if there are no such files, or the first is lost or damaged: `verify` reports it.
    """
    files = _plan_finder_files(release.manifest.bulk)
    if not files:
        return None
    try:
        data = gzip.decompress(read_verified(release.store, files[0]["key"], files[0]["sha256"]))
    except StoreError:
        return None
    match = _FULL_URL.search(data)
    return match[1].decode() if match else None


def _set_modified_times(bulk: JSON, previous: Mapping[str, JSON]) -> JSON:
    """Set when each file and each file list last changed."""
    created = bulk["snapshot"]["time"]
    times = {
        file["content"]: file["modified"] for file in all_files(previous) if "modified" in file
    }
    for file in all_files(bulk):
        file["modified"] = times.get(file["content"], created)
    listed = {_file_list_key(plans): plans["modified"] for plans in previous.get("planFinder", ())}
    for plans in bulk["planFinder"]:
        plans["modified"] = listed.get(_file_list_key(plans), created)
    return bulk


def _file_list_key(plans: JSON) -> tuple[str, ...]:
    """Return a key for the content of a contract year's file list."""
    return (plans["contract"], plans["year"], *(file["content"] for file in plans["files"]))


class _Shards:
    """The shards of a provider directory: all are read once, then those that files need again.

    Args:
        release: a provider directory.
        graph: gets all resources.
    """

    def __init__(self, release: Release, graph: DirectoryGraph) -> None:
        self.graph = graph
        self._store = release.store
        self._entries = [entry for entry in release.manifest.directory if entry is not None]
        # For each shard: numbers of its resources in order of name hash, and their rows.
        self._rows: list[tuple[array[int], array[int]]] = []
        for resources in map_concurrently(self._store, self._read_shard, self._entries):
            numbers = [
                graph.add(reference, digest, line) for digest, reference, line, _ in resources
            ]
            rows = [row for *_, row in resources]
            self._rows.append((array("L", numbers), array("L", rows)))

    def _read_shard(self, entry: CatalogEntry) -> list[tuple[bytes, bytes, bytes, int]]:
        """Return hash, name, JSON and row of a shard's resources, by hash."""
        index = open_index(self._store, entry)
        lines, ids = read_all(self._store, index), index.ids
        resources = []
        for resource_type, rows in index.types.items():
            for row in rows:
                reference = f"{resource_type}/{ids[row]}".encode()
                resources.append((hashlib.sha256(reference).digest(), reference, lines[row], row))
        return sorted(resources)

    def lines(self, is_wanted: bytearray) -> Iterator[tuple[int, bytes]]:
        """Yield the number and JSON line of the wanted resources, ordered by name hash.

        Args:
            is_wanted: flags by number; block parts without a wanted resource are not read.
        """
        requests = (
            (entry, [pair for pair in zip(*rows, strict=True) if is_wanted[pair[0]]])
            for entry, rows in zip(self._entries, self._rows, strict=True)
        )
        filled = (request for request in requests if request[1])
        for lines in map_concurrently(self._store, self._read_rows, filled):
            yield from lines

    def _read_rows(
        self, request: tuple[CatalogEntry, Sequence[tuple[int, int]]]
    ) -> list[tuple[int, bytes]]:
        """Return the number and JSON line of the requested (number, row) pairs of a shard."""
        entry, rows = request
        index = open_index(self._store, entry)
        wanted = bytearray(index.count)
        for _, row in rows:
            wanted[row] = 1
        parts = [
            part for part in index.parts if wanted.find(1, part.first, part.first + part.rows) >= 0
        ]
        lines: dict[int, bytes] = {}
        for part, data in read_parts(self._store, index, parts):
            lines.update(enumerate(lines_of(self._store, index, part, data), part.first))
        return [(number, lines[row]) for number, row in rows]


class _Files:
    """Makes files, unless they can be reused.

    Args:
        writer: writes full files.
        shards: source of the resources.
        reusable: files of the previous release.
        options: options with the work folder.
    """

    def __init__(
        self, writer: Writer, shards: _Shards, reusable: KnownFiles, options: BulkOptions
    ) -> None:
        self._writer = writer
        self._shards = shards
        self._reusable = reusable
        self._work = options.work
        self._made: dict[str, JSON] = {}

    def write_groups(self, groups: Sequence[Sequence[_PlannedFile]]) -> list[list[JSON]]:
        """Write the missing files of some groups; return all files for the manifest.

        Reads the shards once; of equal files, only the first is written.
        """
        names = self._shards.graph.names
        by_inputs = {file.inputs: file for group in groups for file in group}
        missing = [file for inputs, file in by_inputs.items() if inputs not in self._made]
        open_files: dict[int, list[_OpenFile]] = {}  # by the number of their next resource
        is_wanted = bytearray(len(names))
        for planned, reusable in zip(missing, self._reusable.find_intact(missing), strict=True):
            if reusable is not None:
                self._made[planned.inputs] = reusable
                continue
            file = _OpenFile(planned, self._work)
            open_files.setdefault(file.next, []).append(file)
            for number in planned.numbers:
                is_wanted[number] = 1
        for number, resource_json in self._shards.lines(is_wanted):
            for file in open_files.pop(number):
                if file.add(names[number], resource_json):
                    open_files.setdefault(file.next, []).append(file)
                else:
                    self._made[file.planned.inputs] = file.put(self._writer)
        return [[dict(self._made[file.inputs]) for file in group] for group in groups]

    def inputs(self) -> FileInputs:
        """Return the inputs of all files, for reuse by the next release."""
        return FileInputs(
            _INPUTS_FORMAT, {inputs: file["key"] for inputs, file in self._made.items()}
        )


class _OpenFile:
    """A file that is being filled.

    Args:
        planned: its resources and format.
        work: folder of its temporary file.

    Attributes:
        next: number of the next resource to add.
    """

    def __init__(self, planned: _PlannedFile, work: Path | None) -> None:
        self.planned = planned
        self._numbers = iter(planned.numbers)
        self.next = next(self._numbers)
        self._spool = Spool(work)
        self._entries: list[bytes] = []
        self._separator = planned.form.head

    def add(self, reference: bytes, resource_json: bytes) -> bool:
        """Add a resource; return whether more follow."""
        self._entries.append(self.planned.form.entry(reference, resource_json))
        if len(self._entries) == _BATCH_ENTRIES:
            self._write()
        self.next = next(self._numbers, -1)
        return self.next >= 0

    def _write(self) -> None:
        if self._entries:
            form = self.planned.form
            self._spool.write(self._separator + form.between.join(self._entries))
            self._separator = form.between
            self._entries.clear()

    def put(self, writer: Writer) -> JSON:
        """Store the file; return its entry for the manifest."""
        form = self.planned.form
        self._write()
        self._spool.write(form.tail)
        plain_bytes = self._spool.take()
        data = bytes(deflate.gzip_compress(plain_bytes, _GZIP_LEVEL))
        digest = sha256(data)
        key = f"{form.folder}{digest}.{form.ending}.gz"
        writer.put(key, data)
        return {
            "type": self.planned.type,
            "key": key,
            "sha256": digest,
            "bytes": len(data),
            "count": len(self.planned.numbers),
            "content": sha256(plain_bytes),
            "size": len(plain_bytes),
        }
