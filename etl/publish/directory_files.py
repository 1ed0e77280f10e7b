"""Files of a provider directory that anyone may fetch: bulk files by type, and Plan Finder files.

Both are made of the shards of a release, whole with each release. A file holds the resources of one
type whose places (SHA-256 of `Type/id`) begin with the same bits: with as few bits as its limits
allow, which is found for each file alone. So the files follow from the resources, not from the
files of the release before: a changed resource changes the one file of each series that it is in,
and one too many splits the file that it goes into.

A release keeps of each file what it was made of, as a hash: the next one takes over a file of which
that is the same, without reading its resources again
(docs/decisions/0044-directory-files.md).

The form of Plan Finder files is known from implementers, not from a published guide:
docs/decisions/0044-directory-files.md.
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
from etl.publish.directory_graph import PLACE_BITS, PLAN_FINDER_TYPES, DirectoryGraph
from etl.publish.kept_objects import MEMORY, ObjectRef, checked, read_object
from etl.publish.reader import Release, lines_of, open_index, read_all, read_parts
from etl.storage.parallel import Writer, mapped
from etl.storage.port import Store

BULK: Final = "bulk/"
PLAN_FINDER: Final = "plan-finder/"
FILE_INPUTS: Final = "files"
"""Ending of the object in `memory/` that says what the files of a release were made of."""

_FULL_URL: Final = re.compile(rb'"fullUrl":"([^"]*)/[^/"]+/[^/"]+"')
_INPUTS_FORMAT: Final = 1
_LEVEL: Final = 1
_AT_ONCE: Final = 16
"""Contracts whose files are filled in one reading of the shards: each has up to six files open."""
_TOGETHER: Final = 256
"""Resources that are written to a file together."""


class FileInputs(msgspec.Struct, frozen=True):
    """The files of a release, by a hash of what they were made of.

    Attributes:
        format: of this object.
        inputs: hash of the inputs → key of the file.
    """

    format: int
    inputs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MadeFiles:
    """The files of a release of a directory.

    Attributes:
        bulk: `bulk` of its manifest.
        inputs: what the next release may take over.
    """

    bulk: JSON
    inputs: FileInputs


@dataclass(frozen=True, slots=True)
class KnownFiles:
    """Files of the release before, by what they were made of.

    Attributes:
        store: where they are.
        files: hash of the inputs → the file, as its manifest names it.
    """

    store: Store
    files: Mapping[str, JSON] = field(default_factory=dict)

    @classmethod
    def of(cls, release: Release) -> KnownFiles:
        """Return the files of a release; none where what they were made of is not known."""
        ref = release.kept(MEMORY, f".{FILE_INPUTS}")
        try:
            made = (
                None
                if ref is None
                else read_object(release.store, ref, FileInputs, (_INPUTS_FORMAT,))
            )
        except StoreError:  # lost or damaged: `verify` reports it
            made = None
        if made is None:
            return cls(release.store)
        there = {file["key"]: file for file in all_files(release.manifest.bulk)}
        files = {digest: there[name] for digest, name in made.inputs.items() if name in there}
        return cls(release.store, files)

    def whole(self, planned: Iterable[_PlannedFile]) -> Iterator[JSON | None]:
        """Yield of each file the same one; None where there is none, or it is lost or damaged."""

        def whole(file: JSON | None) -> JSON | None:
            try:
                return file if file and checked(self.store, file["key"], file["sha256"]) else None
            except StoreError:
                return None

        return mapped(self.store, whole, (self.files.get(file.inputs) for file in planned))


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of a file: how resources stand in it, and its limits.

    Attributes:
        folder: where its object lies.
        ending: of the object's key, before `.gz`.
        head: text before the first resource.
        between: text between two of them.
        tail: text behind the last.
        base: URL before `/Type/id` in `fullUrl`; None where a resource stands alone on its line.
        entries: most resources of a file.
        size: most bytes of it, uncompressed; a resource that is larger is alone in its file.
    """

    folder: str
    ending: str
    head: bytes
    between: bytes
    tail: bytes
    base: str | None
    entries: int
    size: int

    def entry(self, name: bytes, line: bytes) -> bytes:
        """Return a resource as it stands in the file."""
        if self.base is None:
            return line
        return b'{"fullUrl":"%s/%s","resource":%s}' % (self.base.encode(), name, line)

    @property
    def inputs(self) -> bytes:
        """All that the bytes of a file follow from beside its resources."""
        sample = self.head, self.entry(b"Type/id", b"{}"), self.between, self.tail
        texts = [self.folder, self.ending, *(text.decode() for text in sample)]
        return dumps([*texts, _LEVEL, version("deflate")])


def _ndjson(options: BulkOptions) -> _Form:
    limits = (options.directory_entries, options.directory_bytes)
    return _Form(BULK, "ndjson", b"", b"\n", b"\n", None, *limits)


def _bundle(options: PlanFinderOptions) -> _Form:
    head = b'{"resourceType":"Bundle","type":"collection","entry":[\n'
    base = options.fhir_base.rstrip("/")
    return _Form(PLAN_FINDER, "json", head, b",\n", b"\n]}\n", base, options.entries, options.bytes)


@dataclass(frozen=True, slots=True)
class _PlannedFile:
    """A file of one type, by what goes into it.

    Attributes:
        type: FHIR type.
        form: how resources stand in it.
        numbers: numbers of its resources, ordered by place.
        inputs: hash of all that its bytes follow from.
    """

    type: str
    form: _Form
    numbers: array[int]
    inputs: str


def _planned(
    kind: str, form: _Form, numbers: array[int], graph: DirectoryGraph
) -> Iterator[_PlannedFile]:
    """Yield the files that resources of one type, ordered by place, go into."""
    extra = len(form.between) + len(form.entry(b"", b""))
    sizes = [graph.sizes[number] + extra for number in numbers]
    if form.base is not None:
        names = [len(graph.names[number]) for number in numbers]
        sizes = [size + name for size, name in zip(sizes, names, strict=True)]
    room = form.size - len(form.head) - len(form.tail) + len(form.between)
    places = [graph.places[number] for number in numbers]
    first, head = 0, dumps(kind) + form.inputs
    for count in cut(places, sizes, form.entries, room):
        members = numbers[first : first + count]
        yield _PlannedFile(kind, form, members, sha256(head + graph.marks(members)))
        first += count


def cut(places: Sequence[int], sizes: Sequence[int], entries: int, room: int) -> Iterator[int]:
    """Yield how many resources go into each file.

    Args:
        places: the first 64 bits of the place of each, ascending.
        sizes: its bytes.
        entries: most resources of a file.
        room: most bytes of a file.
    """
    sums = [0, *accumulate(sizes)]

    def halves(first: int, end: int, start: int, bits: int) -> Iterator[int]:
        fits = end - first <= entries and sums[end] - sums[first] <= room
        if fits or end - first == 1 or not bits:
            if end > first:
                yield end - first
            return
        middle = start + (1 << (bits - 1))
        at = bisect_left(places, middle, first, end)
        yield from halves(first, at, start, bits - 1)
        yield from halves(at, end, middle, bits - 1)

    return halves(0, len(places), 0, PLACE_BITS)


def write_directory_files(
    writer: Writer,
    release: Release,
    before: Mapping[str, JSON],
    known: KnownFiles,
    options: BulkOptions,
) -> MadeFiles:
    """Write the files of a release that is assembled but not committed.

    Args:
        writer: puts them.
        release: a provider directory.
        before: `bulk` of the release before: a file that was there keeps its `modified`.
        known: files that are taken over where they would be made of the same.
        options: limits and sizes.

    Raises:
        StoreError: storage failed, or the disk of the work folder is full.
    """
    graph = DirectoryGraph()
    files = _Files(writer, _Shards(release, graph), known, options)
    form = _ndjson(options)
    kinds = sorted(graph.types, key=rank)
    planned = [_planned(kind, form, graph.of_type(kind), graph) for kind in kinds]
    (output,) = files.made_of([list(chain.from_iterable(planned))])
    finder: list[JSON] = []
    form = _bundle(options.plan_finder)
    contracts = sorted(graph.plans)
    for first in range(0, len(contracts), _AT_ONCE):
        keys = contracts[first : first + _AT_ONCE]
        groups = [_of_contract(graph.of_plans(graph.plans[key]), form, graph) for key in keys]
        finder += [
            {"contract": contract, "year": year, "files": made}
            for (contract, year), made in zip(keys, files.made_of(groups), strict=True)
        ]
    snapshot = {
        "time": release.manifest.created,
        "after": release.manifest.parent,
        "output": output,
    }
    bulk = {"snapshot": snapshot, "increments": [], "increment": None, "planFinder": finder}
    return MadeFiles(_dated(bulk, before), files.inputs())


def _of_contract(chosen: bytearray, form: _Form, graph: DirectoryGraph) -> list[_PlannedFile]:
    """Return the files of the resources of one contract and year, which are flagged by number."""
    return [
        file
        for kind in PLAN_FINDER_TYPES
        for file in _planned(
            kind, form, array("L", filter(chosen.__getitem__, graph.of_type(kind))), graph
        )
    ]


def is_file_inputs(named: ObjectRef) -> bool:
    """Return whether an object says what the files of a release were made of."""
    return named.key.startswith(MEMORY) and named.key.endswith(f".{FILE_INPUTS}")


def all_files(bulk: Mapping[str, JSON]) -> list[JSON]:
    """Return the files that `bulk` of a manifest names, of Plan Finder too; some stand twice."""
    snapshot = bulk["snapshot"]["output"] if bulk else []
    return [*snapshot, *_plan_finder_files(bulk)]


def _plan_finder_files(bulk: Mapping[str, JSON]) -> list[JSON]:
    return [file for plans in bulk.get("planFinder", ()) for file in plans["files"]]


def full_url_base(release: Release) -> str | None:
    """Return the FHIR base that `fullUrl` of a release's Plan Finder files begins with.

    Returns:
        None where there are no such files, or the first is lost or damaged: `verify` reports it.
    """
    files = _plan_finder_files(release.manifest.bulk)
    if not files:
        return None
    try:
        data = gzip.decompress(checked(release.store, files[0]["key"], files[0]["sha256"]))
    except StoreError:
        return None
    found = _FULL_URL.search(data)
    return found[1].decode() if found else None


def _dated(bulk: JSON, before: Mapping[str, JSON]) -> JSON:
    """Return `bulk` with the times at which each file and each list of files became what it is."""
    created = bulk["snapshot"]["time"]
    known = {file["content"]: file["modified"] for file in all_files(before) if "modified" in file}
    for file in all_files(bulk):
        file["modified"] = known.get(file["content"], created)
    lists = {_listed(plans): plans["modified"] for plans in before.get("planFinder", ())}
    for plans in bulk["planFinder"]:
        plans["modified"] = lists.get(_listed(plans), created)
    return bulk


def _listed(plans: JSON) -> tuple[str, ...]:
    """Return what the list of files of a contract's year says."""
    return (plans["contract"], plans["year"], *(file["content"] for file in plans["files"]))


class _Shards:
    """The shards of a directory: read whole once, and then as far as files are made of them.

    Args:
        release: a provider directory.
        graph: takes all resources.
    """

    def __init__(self, release: Release, graph: DirectoryGraph) -> None:
        self.graph = graph
        self._store = release.store
        self._units = [unit for unit in release.manifest.directory if unit is not None]
        # Of each shard the numbers of its resources in order of place, and the row of each.
        self._numbers: list[tuple[array[int], array[int]]] = []
        for resources in mapped(self._store, self._all_of, self._units):
            numbers = [graph.add(name, place, line) for place, name, line, _ in resources]
            rows = [row for *_, row in resources]
            self._numbers.append((array("L", numbers), array("L", rows)))

    def _all_of(self, unit: CatalogEntry) -> list[tuple[bytes, bytes, bytes, int]]:
        """Return place, name, JSON and row of the resources of a shard, ordered by place."""
        index = open_index(self._store, unit)
        lines, ids = read_all(self._store, index), index.ids
        found = []
        for kind, rows in index.types.items():
            for row in rows:
                name = f"{kind}/{ids[row]}".encode()
                found.append((hashlib.sha256(name).digest(), name, lines[row], row))
        return sorted(found)

    def lines(self, wanted: bytearray) -> Iterator[tuple[int, bytes]]:
        """Yield number and JSON of some resources, ordered by place.

        Args:
            wanted: flags by number; parts of blocks without a wanted resource are not read.
        """
        shards = zip(self._units, self._numbers, strict=True)
        found = (
            (unit, [(number, row) for number, row in zip(*numbers, strict=True) if wanted[number]])
            for unit, numbers in shards
        )
        for lines in mapped(self._store, self._some_of, (shard for shard in found if shard[1])):
            yield from lines

    def _some_of(
        self, asked: tuple[CatalogEntry, Sequence[tuple[int, int]]]
    ) -> list[tuple[int, bytes]]:
        unit, pairs = asked
        index = open_index(self._store, unit)
        is_asked = bytearray(index.count)
        for _, row in pairs:
            is_asked[row] = 1
        parts = [
            part
            for part in index.parts
            if is_asked.find(1, part.first, part.first + part.rows) >= 0
        ]
        lines: dict[int, bytes] = {}
        for part, data in read_parts(self._store, index, parts):
            lines.update(enumerate(lines_of(self._store, index, part, data), part.first))
        return [(number, lines[row]) for number, row in pairs]


class _Files:
    """Files that are made, as far as they are not there yet.

    Args:
        writer: puts those that are full.
        shards: where resources are read from.
        known: files of the release before.
        options: where files are filled.
    """

    def __init__(
        self, writer: Writer, shards: _Shards, known: KnownFiles, options: BulkOptions
    ) -> None:
        self._writer = writer
        self._shards = shards
        self._known = known
        self._work = options.work
        self._made: dict[str, JSON] = {}

    def made_of(self, groups: Sequence[Sequence[_PlannedFile]]) -> list[list[JSON]]:
        """Return the files of some groups, as the manifest names them.

        Those that are missing are made in one reading of the shards; of equal ones the first.
        """
        names = self._shards.graph.names
        every = {file.inputs: file for group in groups for file in group}
        missing = [file for inputs, file in every.items() if inputs not in self._made]
        waiting: dict[int, list[_OpenFile]] = {}  # by the resource that each goes on with
        wanted = bytearray(len(names))
        for planned, known in zip(missing, self._known.whole(missing), strict=True):
            if known is not None:
                self._made[planned.inputs] = known
                continue
            file = _OpenFile(planned, self._work)
            waiting.setdefault(file.next, []).append(file)
            for number in planned.numbers:
                wanted[number] = 1
        for number, line in self._shards.lines(wanted):
            for file in waiting.pop(number):
                if file.add(names[number], line):
                    waiting.setdefault(file.next, []).append(file)
                else:
                    self._made[file.planned.inputs] = file.put(self._writer)
        return [[dict(self._made[file.inputs]) for file in group] for group in groups]

    def inputs(self) -> FileInputs:
        """Return what the next release may take over."""
        return FileInputs(
            _INPUTS_FORMAT, {inputs: file["key"] for inputs, file in self._made.items()}
        )


class _OpenFile:
    """A file that is being filled.

    Args:
        planned: what goes into it.
        work: folder in which it is filled.

    Attributes:
        next: number of the resource that it goes on with.
    """

    def __init__(self, planned: _PlannedFile, work: Path | None) -> None:
        self.planned = planned
        self._numbers = iter(planned.numbers)
        self.next = next(self._numbers)
        self._spool = Spool(work)
        self._entries: list[bytes] = []
        self._before = planned.form.head

    def add(self, name: bytes, line: bytes) -> bool:
        """Add a resource; return whether there are more."""
        self._entries.append(self.planned.form.entry(name, line))
        if len(self._entries) == _TOGETHER:
            self._write()
        self.next = next(self._numbers, -1)
        return self.next >= 0

    def _write(self) -> None:
        if self._entries:
            form = self.planned.form
            self._spool.write(self._before + form.between.join(self._entries))
            self._before = form.between
            self._entries.clear()

    def put(self, writer: Writer) -> JSON:
        """Put the file, and return it as the manifest names it."""
        form = self.planned.form
        self._write()
        self._spool.write(form.tail)
        text = self._spool.take()
        data = bytes(deflate.gzip_compress(text, _LEVEL))
        digest = sha256(data)
        key = f"{form.folder}{digest}.{form.ending}.gz"
        writer.put(key, data)
        return {
            "type": self.planned.type,
            "key": key,
            "sha256": digest,
            "bytes": len(data),
            "count": len(self.planned.numbers),
            "content": sha256(text),
            "size": len(text),
        }
