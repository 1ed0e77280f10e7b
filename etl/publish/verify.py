"""Checking a release down to the last byte: every hash, row, count and reference.

A release that was made again is compared with the published one: every object that differs is
named, and why it may. A manifest names the hash of every object of its release, directly or through
the catalog's shards: where both manifests are the same, so is every byte. Reports and the
quarantine are not compared: they state when and how long a run was at work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, Literal

from etl.errors import NotFound, StoreError
from etl.jobs import ALONE, EmitAny, JobRunner, no_event
from etl.publish import object_keys
from etl.publish.block import REFERENCE, Line, hashed_head, header_line, line_head, unpack
from etl.publish.bulk_pages import untrue_pages
from etl.publish.canonical_json import dumps, instant, loads, short_hash
from etl.publish.catalog import CatalogEntry, parse_shard, shard_number
from etl.publish.diff import UnitChange, changed_directory, changed_patients
from etl.publish.kept_objects import ObjectRef, checked
from etl.publish.manifest import Manifest, Pointer, Shard
from etl.publish.prune import Expiry, read_expiry
from etl.publish.reader import Release, open_index, open_release, read_pointer
from etl.publish.search_index import Index, IndexRow, rows_of
from etl.publish.segments import render_segment, shard_range
from etl.publish.unit_writer import body_of, content_hash
from etl.storage.parallel import mapped
from etl.storage.port import Store

_MOST: Final = 1000

Kind = Literal["missing", "damaged", "catalog", "index", "block", "reference", "count"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is broken.

    Attributes:
        kind: what sort of thing.
        key: the object.
        what: one sentence; resources are named by type and id.
    """

    kind: Kind
    key: str
    what: str


@dataclass(slots=True)
class VerifyResult:
    """The result of a verification.

    Attributes:
        release: id of the release.
        problems: what is broken, the first thousand.
        count: how many problems there are.
        patients: how many patients were checked.
        resources: how many resources.
        objects: how many objects.
        bytes: their size together.
    """

    release: str
    problems: list[Problem] = field(default_factory=list)
    count: int = 0
    patients: int = 0
    resources: int = 0
    objects: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return self.count == 0

    def count_object(self, size: int) -> None:
        """Count an object that was checked."""
        self.objects += 1
        self.bytes += size

    def add(self, problems: Iterable[Problem]) -> None:
        """Note problems; past the first thousand only their number."""
        for problem in problems:
            self.count += 1
            if len(self.problems) < _MOST:
                self.problems.append(problem)

    def take(self, part: Mapping[str, Any]) -> None:
        """Add the result of a part, as JSON."""
        self.add(Problem(**each) for each in part["problems"])
        self.count += part["count"] - len(part["problems"])
        self.patients += part["patients"]
        self.resources += part["resources"]
        self.objects += part["objects"]
        self.bytes += part["bytes"]


@dataclass(slots=True)
class _Checked:
    """Result of checking one unit."""

    unit: CatalogEntry
    problems: list[Problem]
    counts: Counter[str]
    names: set[tuple[str, str]]
    dangling: list[tuple[str, str]]


def verify(
    release: Release,
    progress: Callable[[int], None] = lambda _: None,
    *,
    pages: bool = True,
    base_url: str = "",
    keys: Sequence[Path] = (),
    runner: JobRunner = ALONE,
    open_store: Callable[[], Store] | None = None,
) -> VerifyResult:
    """Check everything that a release names.

    Every object is read and hashed; every part of every block is decompressed; versions, content
    hashes, counts and times are recomputed and compared; every relative reference must lead to
    a resource of the same block or of the directory. Bulk Publish pages must be there and say what
    the manifests say.

    Args:
        release: what to check.
        progress: called with the number of patients checked so far, shard by shard.
        pages: whether to look at Bulk Publish pages, which are no part of a release.
        base_url: URL that links of pages must begin with; empty where any may.
        keys: files with public keys: a prune that deleted reports must have signed that.
        runner: processes that check patients, shard by shard.
        open_store: gives the target in any of them; None where there is this one alone.
    """
    result = VerifyResult(release.id)
    manifest = release.manifest
    directory: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    units = [unit for unit in manifest.directory if unit is not None]
    # The directory first: references of patients lead into it. Its own are resolved at its end.
    checked: list[_Checked] = []
    for done in mapped(release.store, lambda unit: _check_unit(release, unit, None), units):
        _note(result, done)
        counts.update(done.counts)
        directory |= done.names
        checked.append(done)
    result.add(_directory_places(release))
    _check_segments(release, result)
    for done in checked:
        result.add(_nowhere(done.unit, [name for name in done.dangling if name not in directory]))
    # Then every patient, shard by shard of the catalog.
    check = partial(_check_shard, release, directory)
    if open_store is not None:
        check = partial(_check_shard_of, open_store, release.id)
    shards = [number for number, shard in enumerate(manifest.catalog) if shard is not None]
    retracted = 0
    for of_shard in runner.each(check, shards, no_event):
        result.take(of_shard)
        counts.update(of_shard["resources_of_types"])
        retracted += of_shard["retracted"]
        progress(result.patients)
    # Then the counts of the manifest, and the other objects that it names.
    result.add(_check_counts(release, counts, result.patients, retracted))
    expiry = _expiry_of(release, keys)
    for named in manifest.objects_of("report", "bulk"):
        if expiry.covers(named.key, manifest.created) and not _is_there(release, named):
            continue  # a prune has deleted it, as the settings want
        result.add(_check_named(release, named))
        result.count_object(named.bytes)
    if not pages:
        return result
    # Pages last: they belong to the tree, not to the release.
    result.add(
        Problem("damaged", key, "it does not match the manifests; a run writes it again")
        if there
        else Problem("missing", key, "the page is missing; a run writes it again")
        for key, there in untrue_pages(release, base_url)
    )
    return result


def _expiry_of(release: Release, keys: Sequence[Path]) -> Expiry:
    """Return what a prune may have deleted of a release: of what readers see, nothing.

    But a rollback names the reports of the release that it went back to.
    """
    pointer = read_pointer(release.store)
    what = f"{release.store.name}: {object_keys.CURRENT}"
    if (
        release.manifest.facts.kind != "rollback"
        and pointer is not None
        and Pointer.from_bytes(pointer.data, what).release == release.id
    ):
        return Expiry()
    return read_expiry(release.store, keys)


def _note(result: VerifyResult, done: _Checked) -> None:
    result.add(done.problems)
    result.resources += sum(done.counts.values())
    for ref in done.unit.objects():
        result.count_object(ref.bytes)


def _check_shard(
    release: Release, directory: Set[tuple[str, str]], number: int, emit: EmitAny
) -> dict[str, Any]:
    """Check the patients of a shard; return what was found, as JSON."""
    del emit
    shard = release.manifest.catalog[number]
    if shard is None:
        raise AssertionError("the shard does not exist")
    result, counts = VerifyResult(release.id, objects=1, bytes=shard.bytes), Counter[str]()
    rows, problems = _shard_rows(release, shard, number)
    result.add(problems)
    for done in mapped(release.store, lambda unit: _check_unit(release, unit, directory), rows):
        _note(result, done)
        counts.update(done.counts)
    result.patients = sum(unit.block is not None for unit in rows)
    retracted = len(rows) - result.patients
    return {**asdict(result), "resources_of_types": counts, "retracted": retracted}


def _check_shard_of(
    open_store: Callable[[], Store], release: str, number: int, emit: EmitAny
) -> dict[str, Any]:
    """Check the patients of a shard, in any process."""
    return _check_shard(*_opened(open_store, release), number, emit)


@lru_cache(maxsize=1)
def _opened(
    open_store: Callable[[], Store], release_id: str
) -> tuple[Release, Set[tuple[str, str]]]:
    """Return a release and the names of its directory's resources, without those of lost shards."""
    store, names = open_store(), set[tuple[str, str]]()
    release = open_release(store, release_id)
    for unit in release.manifest.directory:
        with suppress(StoreError):  # reported by the process that checks the directory
            if unit is not None:
                names |= {(row.type, row.id) for row in rows_of(open_index(store, unit))}
    return release, names


def _shard_rows(
    release: Release, shard: Shard, number: int
) -> tuple[list[CatalogEntry], list[Problem]]:
    try:
        rows = parse_shard(release.shard_bytes(shard), shard.key)
    except StoreError as error:
        return [], [_broken(shard.key, error)]
    problems = [
        Problem("catalog", shard.key, f"Patient/{unit.id} belongs in another shard")
        for unit in rows
        if shard_number(unit.id, release.manifest.catalog_bits) != number
    ]
    live = sum(1 for unit in rows if unit.block is not None)
    if (live, len(rows) - live) != (shard.patients, shard.retracted):
        problems.append(Problem("count", shard.key, "its number of patients differs"))
    return rows, problems


def _check_segments(release: Release, result: VerifyResult) -> None:
    """Make the segments of the directory again, and compare."""
    shards = release.manifest.directory
    for number, entry in enumerate(release.manifest.segments):
        if entry is None:
            continue
        result.count_object(entry.bytes)
        try:
            data = checked(release.store, entry.key, entry.sha256)
            units = [(shard, shards[shard]) for shard in shard_range(number, len(shards))]
            indexes = [
                (shard, open_index(release.store, unit))
                for shard, unit in units
                if unit is not None and unit.block is not None
            ]
        except StoreError as error:
            result.add([_broken(entry.key, error)])
            continue
        if render_segment(indexes) != data:
            what = "it does not match the indexes of its shards"
            result.add([Problem("index", entry.key, what)])


def _directory_places(release: Release) -> Iterator[Problem]:
    bits = release.manifest.directory_bits
    for number, unit in enumerate(release.manifest.directory):
        if unit is None:
            continue
        try:
            index = open_index(release.store, unit)
            names = [
                f"{kind}/{index.ids[row]}" for kind, rows in index.types.items() for row in rows
            ]
        except StoreError:
            continue  # reported already
        for name in names:
            if shard_number(name, bits) != number:
                yield Problem("catalog", unit.index, f"{name} belongs in another shard")


def _check_unit(
    release: Release, unit: CatalogEntry, directory: Set[tuple[str, str]] | None
) -> _Checked:
    """Check one block with its index; `directory` is None for the directory's own."""
    done = _Checked(unit, [], Counter(), set(), [])
    try:
        data = checked(release.store, unit.index)
        index = Index.of(data, unit.index)
        rows = rows_of(index)
        done.names = {(row.type, row.id) for row in rows}
        done.counts = Counter(row.type for row in rows)
        if len(data) != unit.index_bytes:
            done.problems.append(Problem("catalog", unit.index, "the size in the catalog differs"))
        done.problems += _check_row(unit, index, rows, directory is not None)
    except StoreError as error:
        done.problems.append(_broken(unit.index, error))
        return done
    if unit.block is not None:
        try:
            block = checked(release.store, unit.block)
            lines = list(_lines(block, index, unit, directory is not None))
            done.problems += _check_lines(unit, rows, lines)
            directory_names = directory or set()
            dangling = {
                name
                for name in _references(lines)
                if name not in done.names and name not in directory_names
            }
            if directory is None:  # other shards may have them
                done.dangling = sorted(dangling)
            else:
                done.problems += _nowhere(unit, sorted(dangling))
        except StoreError as error:
            done.problems.append(_broken(unit.block, error))
    return done


def _check_row(
    unit: CatalogEntry, index: Index, rows: list[IndexRow], is_patient: bool
) -> Iterator[Problem]:
    head = index.head
    if head.get("patient" if is_patient else "shard") != (unit.id if is_patient else int(unit.id)):
        yield Problem("index", unit.index, "the index belongs to another patient")
    if (head["block"], head["bytes"]) != (unit.block, unit.bytes):
        yield Problem("index", unit.index, "the index and the catalog refer to different blocks")
    if dict(Counter(row.type for row in rows)) != dict(unit.counts):
        yield Problem("count", unit.index, "the counts in the catalog differ")
    if rows and max({row.last_updated for row in rows}, key=instant) != unit.last_updated:
        yield Problem("catalog", unit.index, "the lastUpdated in the catalog differs")
    if sum(part.length for part in index.parts) != unit.bytes:
        yield Problem("index", unit.index, "the parts do not make up the block")
    if sum(part.rows for part in index.parts) != len(rows):
        yield Problem("index", unit.index, "the parts do not contain the rows")
    present = {(row.type, row.id) for row in rows}
    for retracted in index.gone:
        if (retracted.type, retracted.id) in present:
            yield Problem(
                "index",
                unit.index,
                f"{retracted.type}/{retracted.id} is both published and retracted",
            )


def _lines(block: bytes, index: Index, unit: CatalogEntry, is_patient: bool) -> Iterator[bytes]:
    for number, part in enumerate(index.parts):
        piece = memoryview(block)[part.offset : part.offset + part.length]
        plain = bytes(unpack(piece, part, str(unit.block)))
        if number == 0 and is_patient:
            if plain != header_line(unit.id):
                raise StoreError(f"{unit.block} does not begin with its patient's header")
            continue
        yield from plain.removesuffix(b"\n").split(b"\n")


def _check_lines(unit: CatalogEntry, rows: list[IndexRow], lines: list[bytes]) -> Iterator[Problem]:
    key = str(unit.block)
    if len(rows) != len(lines):
        yield Problem("block", key, f"it has {len(lines)} resources, its index {len(rows)}")
        return
    held: list[Line] = []
    for row, text in zip(rows, lines, strict=True):
        name = f"{row.type}/{row.id}"
        if not text.startswith(line_head(row)):
            yield Problem("block", key, f"{name} is not where its index says")
            return
        body = body_of(row, text)
        if short_hash(hashed_head(row.type, row.id), body) != row.version:
            yield Problem("block", key, f"the version of {name} is not the hash of its content")
        held.append(Line(row, body, dumps(row.search)))
    if content_hash(held) != unit.content:
        yield Problem("catalog", key, "the content hash in the catalog differs")


def _references(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for text in lines:
        for name in REFERENCE.findall(text):
            kind, _, resource_id = name.decode().partition("/")
            yield kind, resource_id


def _nowhere(unit: CatalogEntry, names: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    for name in names:
        yield Problem("reference", str(unit.block), f"nothing is at {'/'.join(name)}")


def _check_counts(
    release: Release, counts: Counter[str], live: int, retracted: int
) -> Iterator[Problem]:
    stated = release.manifest.counts
    key = object_keys.manifest(release.id)
    if dict(counts) != stated["resources"]:
        yield Problem("count", key, "the resource counts in the manifest differ")
    if (live, retracted) != (stated["patients"], stated["retractedPatients"]):
        yield Problem("count", key, "the number of patients in the manifest differs")


def _is_there(release: Release, named: ObjectRef) -> bool:
    try:
        release.store.get_range(named.key, 0, 1)
    except NotFound:
        return False
    return True


def _check_named(release: Release, named: ObjectRef) -> Iterator[Problem]:
    try:
        if len(checked(release.store, named.key, named.sha256)) != named.bytes:
            yield Problem("count", named.key, "the size in the manifest differs")
    except StoreError as error:
        yield _broken(named.key, error)


def _broken(key: str, error: StoreError) -> Problem:
    what = str(error).removesuffix("; run verify")
    return Problem("missing" if isinstance(error, NotFound) else "damaged", key, what)


def require_whole(release: Release) -> None:
    """Check that all of a release is there, before readers are led back to it.

    Its Bulk Publish pages do not count: they are rewritten.

    Raises:
        StoreError: something is missing or damaged.
    """
    verified = verify(release, pages=False)
    if not verified.ok:
        first = verified.problems[0]
        raise StoreError(
            f"{release.store.name}: {release.id} is damaged, so nothing was rolled back: "
            f"{verified.count:,} problems, the first in {first.key}: {first.what}; "
            "`cpcds verify --release` lists them"
        )


_UNCOMPARED: Final = ("release", "reports")
_BY_UNIT: Final = ("catalog", "directory")
"""Facts of a manifest that are compared unit by unit."""


@dataclass(frozen=True, slots=True)
class RebuildResult:
    """A release that was made again.

    Attributes:
        release: id of the published one.
        remade: id of the other.
        patients: how many patients were made again.
        resources: how many resources.
        reasons: what it was made with that is not what the published one was made with.
        problems: each object that differs.
    """

    release: str
    remade: str
    patients: int
    resources: int
    reasons: tuple[str, ...]
    problems: tuple[Problem, ...]


def rebuilt(published: Release, remade: Release) -> RebuildResult:
    """Return what differs between a published release and the same made again.

    Args:
        published: the release.
        remade: the other, with a store that holds the objects of both.
    """
    counts = remade.manifest.counts
    return RebuildResult(
        published.id,
        remade.id,
        counts["patients"],
        sum(counts["resources"].values()),
        tuple(_reasons(published.manifest, remade.manifest)),
        tuple(_problems(published, remade)),
    )


def _reasons(published: Manifest, remade: Manifest) -> Iterator[str]:
    """Yield what was another when the release was made, as far as the manifest states it."""
    then, now = published.facts.mapping, remade.facts.mapping
    for name, words in (
        ("set", "the mapping set"),
        ("version", "the version of the mappings"),
        ("layout", "the layout"),
        ("view", "the view"),
    ):
        if then.get(name) != now.get(name):
            yield f"{words} is {now.get(name)}, and was {then.get(name)}"
    if then.get("fingerprint") != now.get("fingerprint"):
        yield (
            "the program, mappings, rules, crosswalks, layouts, or configuration differ from those "
            f"of the run (fingerprint {str(now.get('fingerprint'))[:12]}, and was "
            f"{str(then.get('fingerprint'))[:12]})"
        )
    if published.bulk and not remade.bulk:
        yield "bulk files were not rebuilt: the setting publish.bulk is off"


def _problems(published: Release, remade: Release) -> Iterator[Problem]:
    key = published.manifest.key
    theirs, ours = (loads(each.manifest.to_bytes(), key) for each in (published, remade))
    for name in sorted(theirs.keys() | ours.keys()):
        is_compared = name not in (*_UNCOMPARED, *_BY_UNIT)
        if name == "claims" and name not in theirs:  # of a program that did not state them
            continue
        if is_compared and theirs.get(name) != ours.get(name):
            yield Problem(
                "count", key, f"{name} differs from the extract{_parts(theirs, ours, name)}"
            )
    if others := [name for name in _BY_UNIT if theirs[name] != ours[name]]:
        found = False
        for change in (*changed_patients(published, remade), *changed_directory(published, remade)):
            found = True
            yield from _of_unit(change, key)
        if not found:
            for name in others:
                yield Problem("catalog", key, f"the {name} is another one, with the same rows")


def _parts(theirs: Mapping[str, Any], ours: Mapping[str, Any], name: str) -> str:
    """Return which parts of a fact differ."""
    one, other = theirs.get(name), ours.get(name)
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return ""
    parts = sorted(part for part in one.keys() | other.keys() if one.get(part) != other.get(part))
    return f": {', '.join(parts)}"


def _of_unit(change: UnitChange, key: str) -> Iterator[Problem]:
    """Yield the resources of a patient, or of a shard of the directory, that differ."""
    unit = change.before or change.after
    place = key if unit is None else unit.block or f"{key}: {unit.id}"
    for names, words in (
        (change.changed, "differs from the extract"),
        (change.added, "is missing, but the extract contains it"),
        (change.retracted, "is not in the extract"),
    ):
        for kind, logical_id in names:
            yield Problem("block", place, f"{kind}/{logical_id} {words}")
    if not (change.changed or change.added or change.retracted):
        yield Problem(
            "block", place, "its resources are the same, but not its bytes or its catalog row"
        )
