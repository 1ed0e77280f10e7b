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

from etl.errors import NotFound, StoreError, counted
from etl.jobs import ALONE, EmitAny, JobRunner, no_event
from etl.publish import object_keys
from etl.publish.block import REFERENCE, Line, hashed_head, header_line, line_head, unpack
from etl.publish.bulk_pages import outdated_pages
from etl.publish.canonical_json import dumps, instant, loads, short_hash
from etl.publish.catalog import CatalogEntry, parse_shard, shard_number
from etl.publish.diff import UnitChange, diff_directory, diff_patients
from etl.publish.kept_objects import ObjectRef, read_verified
from etl.publish.manifest import Manifest, Pointer, Shard
from etl.publish.prune import Expiry, read_expiry
from etl.publish.reader import Release, open_index, open_release, read_pointer
from etl.publish.search_index import Index, IndexRow, rows_of
from etl.publish.segments import render_segment, shard_range
from etl.publish.unit_writer import body_of, content_hash
from etl.storage.parallel import map_concurrently
from etl.storage.port import Store

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
        problems: what is broken.
        patients: how many patients were checked.
        resources: how many resources.
        objects: how many objects.
        bytes: their size together.
    """

    release: str
    problems: list[Problem] = field(default_factory=list)
    patients: int = 0
    resources: int = 0
    objects: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    def count_object(self, size: int) -> None:
        """Count an object that was checked."""
        self.objects += 1
        self.bytes += size

    def add(self, problems: Iterable[Problem]) -> None:
        """Record problems."""
        self.problems += problems

    def take(self, part_result: Mapping[str, Any]) -> None:
        """Add the result of a shard, given as JSON."""
        self.add(Problem(**problem) for problem in part_result["problems"])
        self.patients += part_result["patients"]
        self.resources += part_result["resources"]
        self.objects += part_result["objects"]
        self.bytes += part_result["bytes"]


@dataclass(slots=True)
class _BlockResult:
    """Result of checking one block, of a patient or of a directory shard."""

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
        release: the release to check.
        progress: called after each shard with the number of patients checked so far.
        pages: whether to check Bulk Publish pages, which are not part of a release.
        base_url: required base URL of links in pages; empty to accept any.
        keys: files with public keys, one of which must have signed each prune that deleted reports.
        runner: runs the checks of patients, shard by shard.
        open_store: opens the target in another process; None to check in this one.
    """
    result = VerifyResult(release.id)
    manifest = release.manifest
    names: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    units = [unit for unit in manifest.directory if unit is not None]
    # The directory first, because patients refer to it. Its own references are resolved last.
    results: list[_BlockResult] = []
    for block in map_concurrently(
        release.store, lambda unit: _check_block(release, unit, None), units
    ):
        _add_block_result(result, block)
        counts.update(block.counts)
        names |= block.names
        results.append(block)
    result.add(_check_shard_numbers(release))
    _check_segments(release, result)
    for block in results:
        result.add(
            _dangling_problems(block.unit, [name for name in block.dangling if name not in names])
        )
    # Then every patient, shard by shard of the catalog.
    check_shard = partial(_check_shard, release, names)
    if open_store is not None:
        check_shard = partial(_check_shard_in_worker, open_store, release.id)
    shards = [number for number, shard in enumerate(manifest.catalog) if shard is not None]
    retracted = 0
    for shard_result in runner.run_each(check_shard, shards, no_event):
        result.take(shard_result)
        counts.update(shard_result["resources_of_types"])
        retracted += shard_result["retracted"]
        progress(result.patients)
    # Then the counts of the manifest, and the other objects that it names.
    result.add(_check_counts(release, counts, result.patients, retracted))
    expiry = _allowed_expiry(release, keys)
    for ref in manifest.objects_of("report", "bulk"):
        if expiry.covers(ref.key, manifest.created) and not _object_exists(release, ref):
            continue  # a prune has deleted it, as the settings want
        result.add(_check_object(release, ref))
        result.count_object(ref.bytes)
    if not pages:
        return result
    # Pages last: they belong to the tree, not to the release.
    result.add(
        Problem("damaged", key, "it does not match the manifests; a run writes it again")
        if is_present
        else Problem("missing", key, "the page is missing; a run writes it again")
        for key, is_present in outdated_pages(release, base_url)
    )
    return result


def _allowed_expiry(release: Release, keys: Sequence[Path]) -> Expiry:
    """Return which reports of a release a prune may have deleted; none of the current one.

    A rollback is the exception: it names the reports of the release that it went back to.
    """
    pointer = read_pointer(release.store)
    object_name = f"{release.store.name}: {object_keys.CURRENT}"
    if (
        release.manifest.facts.kind != "rollback"
        and pointer is not None
        and Pointer.from_bytes(pointer.data, object_name).release == release.id
    ):
        return Expiry()
    return read_expiry(release.store, keys)


def _add_block_result(result: VerifyResult, block_result: _BlockResult) -> None:
    result.add(block_result.problems)
    result.resources += sum(block_result.counts.values())
    for ref in block_result.unit.objects():
        result.count_object(ref.bytes)


def _check_shard(
    release: Release, names: Set[tuple[str, str]], number: int, emit: EmitAny
) -> dict[str, Any]:
    """Check the patients of a shard; return the result as JSON."""
    del emit
    shard = release.manifest.catalog[number]
    if shard is None:
        raise AssertionError("the shard does not exist")
    result, counts = VerifyResult(release.id, objects=1, bytes=shard.bytes), Counter[str]()
    rows, problems = _check_shard_rows(release, shard, number)
    result.add(problems)
    for block in map_concurrently(
        release.store, lambda unit: _check_block(release, unit, names), rows
    ):
        _add_block_result(result, block)
        counts.update(block.counts)
    result.patients = sum(unit.block is not None for unit in rows)
    retracted = len(rows) - result.patients
    return {**asdict(result), "resources_of_types": counts, "retracted": retracted}


def _check_shard_in_worker(
    open_store: Callable[[], Store], release: str, number: int, emit: EmitAny
) -> dict[str, Any]:
    """Check the patients of a shard in another process."""
    return _check_shard(*_open_release_names(open_store, release), number, emit)


@lru_cache(maxsize=1)
def _open_release_names(
    open_store: Callable[[], Store], release_id: str
) -> tuple[Release, Set[tuple[str, str]]]:
    """Open a release; return it with its directory's names, without lost shards."""
    store, directory_names = open_store(), set[tuple[str, str]]()
    release = open_release(store, release_id)
    for unit in release.manifest.directory:
        with suppress(StoreError):  # reported by the process that checks the directory
            if unit is not None:
                directory_names |= {(row.type, row.id) for row in rows_of(open_index(store, unit))}
    return release, directory_names


def _check_shard_rows(
    release: Release, shard: Shard, number: int
) -> tuple[list[CatalogEntry], list[Problem]]:
    """Parse a catalog shard; check its patients and their number."""
    try:
        rows = parse_shard(release.shard_bytes(shard), shard.key)
    except StoreError as error:
        return [], [_object_problem(shard.key, error)]
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
    """Rebuild the directory's segments and compare them."""
    shards = release.manifest.directory
    for number, entry in enumerate(release.manifest.segments):
        if entry is None:
            continue
        result.count_object(entry.bytes)
        try:
            data = read_verified(release.store, entry.key, entry.sha256)
            units = [(shard, shards[shard]) for shard in shard_range(number, len(shards))]
            indexes = [
                (shard, open_index(release.store, unit))
                for shard, unit in units
                if unit is not None and unit.block is not None
            ]
        except StoreError as error:
            result.add([_object_problem(entry.key, error)])
            continue
        if render_segment(indexes) != data:
            message = "it does not match the indexes of its shards"
            result.add([Problem("index", entry.key, message)])


def _check_shard_numbers(release: Release) -> Iterator[Problem]:
    """Report directory resources that are stored in the wrong shard."""
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


def _check_block(
    release: Release, unit: CatalogEntry, directory_names: Set[tuple[str, str]] | None
) -> _BlockResult:
    """Check a block with its index.

    For a block of the directory itself, the directory names are None: its dangling references are
    returned, because other shards may resolve them.
    """
    result = _BlockResult(unit, [], Counter(), set(), [])
    try:
        data = read_verified(release.store, unit.index)
        index = Index.from_bytes(data, unit.index)
        rows = rows_of(index)
        result.names = {(row.type, row.id) for row in rows}
        result.counts = Counter(row.type for row in rows)
        if len(data) != unit.index_bytes:
            result.problems.append(
                Problem("catalog", unit.index, "the size in the catalog differs")
            )
        result.problems += _check_catalog_entry(unit, index, rows, directory_names is not None)
    except StoreError as error:
        result.problems.append(_object_problem(unit.index, error))
        return result
    if unit.block is not None:
        try:
            block = read_verified(release.store, unit.block)
            lines = list(_resource_lines(block, index, unit, directory_names is not None))
            result.problems += _check_lines(unit, rows, lines)
            resolved_names = directory_names or set()
            dangling = {
                name
                for name in _relative_references(lines)
                if name not in result.names and name not in resolved_names
            }
            if directory_names is None:  # other shards may have them
                result.dangling = sorted(dangling)
            else:
                result.problems += _dangling_problems(unit, sorted(dangling))
        except StoreError as error:
            result.problems.append(_object_problem(unit.block, error))
    return result


def _check_catalog_entry(
    unit: CatalogEntry, index: Index, rows: list[IndexRow], is_patient: bool
) -> Iterator[Problem]:
    """Compare a catalog entry with its index."""
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
    for retracted in index.deleted:
        if (retracted.type, retracted.id) in present:
            yield Problem(
                "index",
                unit.index,
                f"{retracted.type}/{retracted.id} is both published and retracted",
            )


def _resource_lines(
    block: bytes, index: Index, unit: CatalogEntry, is_patient: bool
) -> Iterator[bytes]:
    """Yield the resources of a block; check its patient header."""
    for number, part in enumerate(index.parts):
        data = memoryview(block)[part.offset : part.offset + part.length]
        text = bytes(unpack(data, part, str(unit.block)))
        if number == 0 and is_patient:
            if text != header_line(unit.id):
                raise StoreError(f"{unit.block} does not begin with its patient's header")
            continue
        yield from text.removesuffix(b"\n").split(b"\n")


def _check_lines(unit: CatalogEntry, rows: list[IndexRow], lines: list[bytes]) -> Iterator[Problem]:
    """Compare each resource with its index row: position, version, content hash."""
    key = str(unit.block)
    if len(rows) != len(lines):
        yield Problem("block", key, f"it has {len(lines)} resources, its index {len(rows)}")
        return
    block_lines: list[Line] = []
    for row, line in zip(rows, lines, strict=True):
        name = f"{row.type}/{row.id}"
        if not line.startswith(line_head(row)):
            yield Problem("block", key, f"{name} is not where its index says")
            return
        body = body_of(row, line)
        if short_hash(hashed_head(row.type, row.id), body) != row.version:
            yield Problem("block", key, f"the version of {name} is not the hash of its content")
        block_lines.append(Line(row, body, dumps(row.search)))
    if content_hash(block_lines) != unit.content:
        yield Problem("catalog", key, "the content hash in the catalog differs")


def _relative_references(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for text in lines:
        for name in REFERENCE.findall(text):
            kind, _, resource_id = name.decode().partition("/")
            yield kind, resource_id


def _dangling_problems(unit: CatalogEntry, names: Iterable[tuple[str, str]]) -> Iterator[Problem]:
    """Report references without a target."""
    for name in names:
        yield Problem("reference", str(unit.block), f"nothing is at {'/'.join(name)}")


def _check_counts(
    release: Release, counts: Counter[str], patients: int, retracted: int
) -> Iterator[Problem]:
    stated_counts = release.manifest.counts
    key = object_keys.manifest(release.id)
    if dict(counts) != stated_counts["resources"]:
        yield Problem("count", key, "the resource counts in the manifest differ")
    if (patients, retracted) != (stated_counts["patients"], stated_counts["retractedPatients"]):
        yield Problem("count", key, "the number of patients in the manifest differs")


def _object_exists(release: Release, ref: ObjectRef) -> bool:
    try:
        release.store.get_range(ref.key, 0, 1)
    except NotFound:
        return False
    return True


def _check_object(release: Release, ref: ObjectRef) -> Iterator[Problem]:
    try:
        if len(read_verified(release.store, ref.key, ref.sha256)) != ref.bytes:
            yield Problem("count", ref.key, "the size in the manifest differs")
    except StoreError as error:
        yield _object_problem(ref.key, error)


def _object_problem(key: str, error: StoreError) -> Problem:
    message = str(error).removesuffix("; run verify")
    return Problem("missing" if isinstance(error, NotFound) else "damaged", key, message)


def require_intact(release: Release) -> None:
    """Check that a release is intact before a rollback to it.

    Its Bulk Publish pages do not count: they are rewritten.

    Raises:
        StoreError: an object is missing or damaged.
    """
    result = verify(release, pages=False)
    if not result.ok:
        first_problem = result.problems[0]
        raise StoreError(
            f"{release.store.name}: {release.id} is damaged, so nothing was rolled back: "
            f"{counted(len(result.problems), 'problem')}, the first in {first_problem.key}: "
            f"{first_problem.what}; "
            "`cpcds verify --release` lists them"
        )


_UNCOMPARED_FACTS: Final = ("release", "reports")
_FACTS_BY_UNIT: Final = ("catalog", "directory")
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


def compare_rebuild(published: Release, remade: Release) -> RebuildResult:
    """Compare a published release with its rebuild.

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
        tuple(_changed_inputs(published.manifest, remade.manifest)),
        tuple(_difference_problems(published, remade)),
    )


def _changed_inputs(published: Manifest, remade: Manifest) -> Iterator[str]:
    """Yield the inputs that differ from those of the published release."""
    old_mapping, new_mapping = published.facts.mapping, remade.facts.mapping
    for name, description in (
        ("set", "the mapping set"),
        ("version", "the version of the mappings"),
        ("layout", "the layout"),
        ("view", "the view"),
    ):
        old_value, new_value = old_mapping.get(name), new_mapping.get(name)
        if old_value != new_value:
            yield f"{description} is {new_value}, and was {old_value}"
    if old_mapping.get("fingerprint") != new_mapping.get("fingerprint"):
        yield (
            "the program, mappings, rules, crosswalks, layouts, or configuration differ from those "
            f"of the run (fingerprint {str(new_mapping.get('fingerprint'))[:12]}, and was "
            f"{str(old_mapping.get('fingerprint'))[:12]})"
        )
    if published.bulk and not remade.bulk:
        yield "bulk files were not rebuilt: the setting publish.bulk is off"


def _difference_problems(published: Release, remade: Release) -> Iterator[Problem]:
    key = published.manifest.key
    old_facts, new_facts = (
        loads(release.manifest.to_bytes(), key) for release in (published, remade)
    )
    for name in sorted(old_facts.keys() | new_facts.keys()):
        is_compared = name not in (*_UNCOMPARED_FACTS, *_FACTS_BY_UNIT)
        if name == "claims" and name not in old_facts:  # of a program that did not state them
            continue
        if is_compared and old_facts.get(name) != new_facts.get(name):
            parts = _differing_parts(old_facts, new_facts, name)
            yield Problem("count", key, f"{name} differs from the extract{parts}")
    if changed_facts := [name for name in _FACTS_BY_UNIT if old_facts[name] != new_facts[name]]:
        has_changes = False
        for change in (*diff_patients(published, remade), *diff_directory(published, remade)):
            has_changes = True
            yield from _change_problems(change, key)
        if not has_changes:
            for name in changed_facts:
                yield Problem("catalog", key, f"the {name} is another one, with the same rows")


def _differing_parts(old_facts: Mapping[str, Any], new_facts: Mapping[str, Any], name: str) -> str:
    """Name the parts of a fact that differ."""
    before, after = old_facts.get(name), new_facts.get(name)
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return ""
    parts = sorted(
        part for part in before.keys() | after.keys() if before.get(part) != after.get(part)
    )
    return f": {', '.join(parts)}"


def _change_problems(change: UnitChange, key: str) -> Iterator[Problem]:
    """Report the resources of a patient or directory shard that differ."""
    unit = change.old_entry or change.new_entry
    object_name = key if unit is None else unit.block or f"{key}: {unit.id}"
    for names, description in (
        (change.changed, "differs from the extract"),
        (change.added, "is missing, but the extract contains it"),
        (change.retracted, "is not in the extract"),
    ):
        for kind, logical_id in names:
            yield Problem("block", object_name, f"{kind}/{logical_id} {description}")
    if not (change.changed or change.added or change.retracted):
        yield Problem(
            "block", object_name, "its resources are the same, but not its bytes or its catalog row"
        )
