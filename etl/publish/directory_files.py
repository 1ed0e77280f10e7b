"""Files of a provider directory that anyone may fetch: bulk files by type, and Plan Finder files.

Both are made of the shards of a release, whole with each release. A file holds the resources of one
type whose places (SHA-256 of `Type/id`) begin with the same bits: with as few bits as its limits
allow, which is found for each file alone. So the files follow from the resources, not from the
files of the release before: a changed resource changes the one file of each series that it is in,
and one too many splits the file that it goes into.

The form of Plan Finder files is known from implementers, not from a published guide:
docs/decisions/0044-directory-files.md.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from sys import intern
from typing import Final

import deflate

from etl.publish.bulk_files import BulkOptions, PlanFinderOptions, Spool
from etl.publish.canonical_json import JSON, loads, sha256
from etl.publish.catalog import Unit
from etl.publish.reader import Release, open_index, read_all
from etl.publish.rendered_resources import REFERENCE, rank
from etl.storage.parallel_reads import mapped
from etl.storage.parallel_writes import Writer

BULK: Final = "bulk/"
PLAN_FINDER: Final = "plan-finder/"
PLAN_FINDER_TYPES: Final = (
    *("InsurancePlan", "Organization", "Practitioner"),
    *("PractitionerRole", "Location", "OrganizationAffiliation"),
)
"""Types of Plan Finder files, in the order in which an index lists them."""
MA_PLAN_ID: Final = "http://cms.gov/medicare/ma-plan-id"
"""System of `contract-plan-segment` (Plan-Net 1.2.0, InsurancePlan.identifier:MA-PLAN-ID)."""

_NETWORK: Final = (
    "http://hl7.org/fhir/us/davinci-pdex-plan-net/StructureDefinition/network-reference"
)
"""Extension of a PractitionerRole: the network that the role is in."""
_CONTRACT: Final = re.compile(r"([A-Za-z0-9]{1,16})-")
_YEAR: Final = re.compile(r"\d{4}(?=-|$)")
_LEVEL: Final = 1
_AT_ONCE: Final = 16
"""Contracts whose files are filled in one reading of the shards: each has up to six files open."""
_PLACE_BITS: Final = 64


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

    def entry(self, name: str, line: bytes) -> bytes:
        """Return a resource as it stands in the file."""
        if self.base is None:
            return line
        return b'{"fullUrl":"%s/%s","resource":%s}' % (self.base.encode(), name.encode(), line)


def _ndjson(options: BulkOptions) -> _Form:
    limits = (options.directory_entries, options.directory_bytes)
    return _Form(BULK, "ndjson", b"", b"\n", b"\n", None, *limits)


def _bundle(options: PlanFinderOptions) -> _Form:
    head = b'{"resourceType":"Bundle","type":"collection","entry":[\n'
    base = options.fhir_base.rstrip("/")
    return _Form(PLAN_FINDER, "json", head, b",\n", b"\n]}\n", base, options.entries, options.bytes)


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plans of one contract in one year.

    Attributes:
        contract: contract id.
        year: plan year, four digits.
        plans: numbers of its InsurancePlans.
        networks: numbers of the Organizations that are their networks.
    """

    contract: str
    year: str
    plans: set[int] = field(default_factory=set)
    networks: set[int] = field(default_factory=set)


class _Graph:
    """References between the resources of a directory, by number.

    Attributes:
        numbers: `Type/id` → number, in the order in which they are met.
        names: `Type/id` by number.
        types: type of each.
        places: the first 64 bits of each one's place.
        sizes: bytes of each as JSON; 0 where there is no such resource.
        plans: contract and year → its plans.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.names: list[str] = []
        self.types: list[str] = []
        self.places = array("Q")
        self.sizes = array("Q")
        self.plans: dict[tuple[str, str], _Plans] = {}
        self._in_networks: dict[int, tuple[int, ...]] = {}
        self._by_type: dict[str, list[int]] = {}
        self._targets = array("L")
        self._begins = array("L")
        self._ends = array("L")

    def add(self, name: str, line: bytes) -> None:
        """Note a resource with all that it refers to; each once."""
        number = self._number(name)
        self.sizes[number] = len(line)
        self._begins[number] = len(self._targets)
        self._targets.extend(
            self._number(b"/".join(reference).decode())
            for reference in sorted(set(REFERENCE.findall(line)))
        )
        self._ends[number] = len(self._targets)
        match self.types[number]:
            case "InsurancePlan":
                plan = loads(line, name)
                for key in contract_years(plan):
                    plans = self.plans.setdefault(key, _Plans(*key))
                    plans.plans.add(number)
                    plans.networks.update(self._numbers(stated_networks(plan)))
            case "PractitionerRole" | "OrganizationAffiliation":
                self._in_networks[number] = self._numbers(stated_networks(loads(line, name)))
            case _:
                return

    def _numbers(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(map(self._number, names))

    def _number(self, name: str) -> int:
        number = self.numbers.setdefault(name, len(self.numbers))
        if number == len(self.types):
            self.names.append(name)
            self.types.append(intern(name.partition("/")[0]))
            digest = hashlib.sha256(name.encode()).digest()
            self.places.append(int.from_bytes(digest[: _PLACE_BITS // 8]))
            for column in (self.sizes, self._begins, self._ends):
                column.append(0)
        return number

    def of_type(self, name: str) -> Sequence[int]:
        """Return the resources of a type, ordered by place; to be called once all are noted."""
        if name not in self._by_type:
            numbers = (
                number
                for number, other in enumerate(self.types)
                if other == name and self.sizes[number]
            )
            self._by_type[name] = sorted(numbers, key=self.places.__getitem__)
        return self._by_type[name]

    def targets(self, number: int) -> Sequence[int]:
        """Return what a resource refers to."""
        return self._targets[self._begins[number] : self._ends[number]]

    def of_plans(self, plans: _Plans) -> bytearray:
        """Return flags by number: plans, their networks, what belongs to these, and what it names.

        Roles and affiliations belong to the networks that they state. What they name is followed
        through the types of Plan Finder files.
        """
        chosen = bytearray(len(self.types))
        members = (
            number
            for number, stated in self._in_networks.items()
            if not plans.networks.isdisjoint(stated)
        )
        waiting = [*plans.plans, *plans.networks, *members]
        while waiting:
            number = waiting.pop()
            if chosen[number] or self.types[number] not in PLAN_FINDER_TYPES:
                continue
            chosen[number] = 1
            waiting.extend(self.targets(number))
        return chosen


def contract_years(plan: JSON) -> list[tuple[str, str]]:
    """Return contract and year of each Medicare Advantage identifier of an InsurancePlan.

    The year is that of the identifier's period; without one, that in which the plan begins.
    Identifiers without a contract or a year are left out.
    """
    found = []
    for identifier in plan.get("identifier", ()):
        contract = _CONTRACT.match(identifier.get("value", ""))
        period = identifier.get("period") or plan.get("period") or {}
        year = _YEAR.match(period.get("start", ""))
        if identifier.get("system") == MA_PLAN_ID and contract and year:
            found.append((contract[1], year[0]))
    return found


def stated_networks(resource: JSON) -> Iterator[str]:
    """Yield the networks that a resource states: `Organization/id`.

    They are those of an InsurancePlan and of its plans, of an OrganizationAffiliation, or the one
    of a PractitionerRole; a network that patients have to come from is none.
    """
    for part in (resource, *resource.get("plan", ())):
        for network in part.get("network", ()):
            if "reference" in network:
                yield network["reference"]
    for extension in resource.get("extension", ()):
        if extension["url"] == _NETWORK and "reference" in extension.get("valueReference", {}):
            yield extension["valueReference"]["reference"]


@dataclass(slots=True)
class _Series:
    """The files of one type: of all resources, or of those of one contract and year.

    Attributes:
        type: FHIR type.
        form: how resources stand in a file.
        wanted: a flag for each number of the graph: whether that resource is in it; None for all.
        counts: how many resources each of the files has, in order.
        files: those that are made, as the manifest names them.
    """

    type: str
    form: _Form
    wanted: bytearray | None
    counts: list[int] = field(default_factory=list)
    files: list[JSON] = field(default_factory=list)

    def plan(self, graph: _Graph) -> None:
        """Choose what goes into which file."""
        numbers = [
            number
            for number in graph.of_type(self.type)
            if self.wanted is None or self.wanted[number]
        ]
        extra = len(self.form.between)
        sizes = [
            graph.sizes[number] + extra + len(self.form.entry(graph.names[number], b""))
            for number in numbers
        ]
        room = self.form.size - len(self.form.head) - len(self.form.tail) + extra
        places = [graph.places[number] for number in numbers]
        self.counts = list(cut(places, sizes, self.form.entries, room))


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

    return halves(0, len(places), 0, _PLACE_BITS)


def write_directory_files(
    writer: Writer, release: Release, before: Mapping[str, JSON], options: BulkOptions
) -> JSON:
    """Write the files of a release that is assembled but not committed.

    Args:
        writer: puts them.
        release: a provider directory.
        before: `bulk` of the release before: a file that was there keeps its `modified`.
        options: limits and sizes.

    Returns:
        `bulk` of its manifest.

    Raises:
        StoreError: storage failed, or the disk of the work folder is full.
    """
    graph = _Graph()
    for lines in _shards(release):
        for name, line in lines:
            graph.add(name, line)
    types = sorted({name for name, size in zip(graph.types, graph.sizes, strict=True) if size})
    everything = [_Series(name, _ndjson(options), None) for name in sorted(types, key=rank)]
    _fill(writer, release, graph, everything, options)
    finder: list[JSON] = []
    form = _bundle(options.plan_finder)
    contracts = sorted(graph.plans)
    for first in range(0, len(contracts), _AT_ONCE):
        keys = contracts[first : first + _AT_ONCE]
        groups = []
        for key in keys:
            wanted = graph.of_plans(graph.plans[key])
            groups.append([_Series(name, form, wanted) for name in PLAN_FINDER_TYPES])
        _fill(writer, release, graph, [one for group in groups for one in group], options)
        finder += [
            {"contract": contract, "year": year, "files": _files(group)}
            for (contract, year), group in zip(keys, groups, strict=True)
        ]
    created = release.manifest.created
    snapshot = {"time": created, "after": release.manifest.parent, "output": _files(everything)}
    return _dated(
        {"snapshot": snapshot, "increments": [], "increment": None, "planFinder": finder}, before
    )


def _files(series: Iterable[_Series]) -> list[JSON]:
    return [file for one in series for file in one.files]


def all_files(bulk: Mapping[str, JSON]) -> list[JSON]:
    """Return the files that `bulk` of a manifest names, of Plan Finder too; some stand twice."""
    snapshot = bulk["snapshot"]["output"] if bulk else []
    return [*snapshot, *(file for one in bulk.get("planFinder", ()) for file in one["files"])]


def _dated(bulk: JSON, before: Mapping[str, JSON]) -> JSON:
    """Return `bulk` with the times at which each file and each list of files became what it is."""
    created = bulk["snapshot"]["time"]
    known = {file["content"]: file["modified"] for file in all_files(before) if "modified" in file}
    for file in all_files(bulk):
        file["modified"] = known.get(file["content"], created)
    lists = {
        (one["contract"], one["year"], *(file["content"] for file in one["files"])): one["modified"]
        for one in before.get("planFinder", ())
    }
    for one in bulk["planFinder"]:
        key = (one["contract"], one["year"], *(file["content"] for file in one["files"]))
        one["modified"] = lists.get(key, created)
    return bulk


def _shards(release: Release) -> Iterator[list[tuple[str, bytes]]]:
    """Yield name and JSON of the resources of each shard; all together ordered by place."""

    def read(unit: Unit) -> list[tuple[str, bytes]]:
        index = open_index(release.store, unit)
        rows = ((name, row) for name, rows in index.types.items() for row in rows)
        names = [f"{name}/{index.ids[row]}" for name, row in sorted(rows, key=lambda one: one[1])]
        lines = read_all(release.store, index)
        return sorted(
            zip(names, lines, strict=True),
            key=lambda one: hashlib.sha256(one[0].encode()).digest(),
        )

    shards = [unit for unit in release.manifest.directory if unit is not None]
    yield from mapped(release.store, read, shards)


def _fill(
    writer: Writer,
    release: Release,
    graph: _Graph,
    series: Sequence[_Series],
    options: BulkOptions,
) -> None:
    """Write the files of some series, in one reading of the shards."""
    by_type: dict[str, list[_OpenFile]] = {}
    for one in series:
        one.plan(graph)
        by_type.setdefault(one.type, []).append(_OpenFile(one, writer, options))
    for lines in _shards(release):
        for name, line in lines:
            number = graph.numbers[name]
            for file in by_type.get(graph.types[number], ()):
                if file.series.wanted is None or file.series.wanted[number]:
                    file.add(name, line)


class _OpenFile:
    """The file of a series that is being filled; after the last resource of it, the next one.

    Args:
        series: what goes into which file.
        writer: puts those that are full.
        options: where files are filled.
    """

    def __init__(self, series: _Series, writer: Writer, options: BulkOptions) -> None:
        self.series = series
        self._writer = writer
        self._options = options
        self._filling = Spool(options.work)
        self._count = 0

    def add(self, name: str, line: bytes) -> None:
        """Add a resource."""
        form = self.series.form
        self._filling.write(form.between if self._count else form.head)
        self._filling.write(form.entry(name, line))
        self._count += 1
        if self._count == self.series.counts[len(self.series.files)]:
            self._put()

    def _put(self) -> None:
        form = self.series.form
        self._filling.write(form.tail)
        text = self._filling.take()
        data = bytes(deflate.gzip_compress(text, _LEVEL))
        digest = sha256(data)
        key = f"{form.folder}{digest}.{form.ending}.gz"
        self._writer.put(key, data)
        self.series.files.append(
            {
                "type": self.series.type,
                "key": key,
                "sha256": digest,
                "bytes": len(data),
                "count": self._count,
                "content": sha256(text),
                "size": len(text),
            }
        )
        self._count = 0
