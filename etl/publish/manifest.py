"""The manifest of a release: what it is made of, from what it was made, and what came before it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from typing import Final, Literal

import msgspec

from etl.errors import StoreError
from etl.model.data_models import DataModel, stated_model
from etl.publish import object_keys
from etl.publish.canonical_json import JSON, dumps, instant, loads, sha256
from etl.publish.catalog import CatalogEntry, entry_of
from etl.publish.kept_objects import ObjectRef
from etl.publish.segments import SegmentEntry

_SCRYPT_SALT: Final = b"cpcds: fingerprint of the id key"
_SCRYPT_COST: Final = 1 << 14


@lru_cache(maxsize=4)
def id_facts(payer: str, key: bytes) -> Mapping[str, str]:
    """Return the manifest's facts about its IDs: the payer and a key fingerprint.

    The fingerprint is scrypt (RFC 7914) of the key over a constant, so that it does not give the
    key away: each guess costs some 50 ms and 16 MiB, and a random key cannot be guessed at all.

    Args:
        payer: the payer's id, a part of every logical id.
        key: the key of the hash behind logical ids.
    """
    digest = hashlib.scrypt(key, salt=_SCRYPT_SALT, n=_SCRYPT_COST, r=8, p=1, dklen=16)
    return {"payer": payer, "key": digest.hex()}


def changed_ids(previous: Mapping[str, object], current: Mapping[str, str]) -> tuple[str, ...]:
    """Return the inputs of logical IDs that differ: `payer`, `key`.

    Args:
        previous: those of the release's manifest; empty for an older release without these
            facts, with which nothing is compared.
        current: `id_facts` of a run.
    """
    return tuple(name for name in current if name in previous and previous[name] != current[name])


Kind = Literal["full", "delta", "rollback", "stand-in"]
Role = Literal["patient", "catalog", "directory", "segment", "report", "bulk"]
"""What an object is to its release: of a patient or of the directory, its block or index; report,
quarantine and kept state; bulk file."""

SHARES: Final = 30
"""Shares of a release's objects, one of which each run reads before it publishes."""

_ID_TIME: Final = "%Y%m%dT%H%M%SZ"
RELEASE: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")
RESTORE_POINTER: Final = (
    "restore it from a copy, or rewrite it for the newest published release in releases/"
)
"""Advice where `current.json` is lost or damaged."""


@dataclass(frozen=True, slots=True)
class ReleaseSubject:
    """What a release is about: members and their claims, or public resources.

    Attributes:
        model: the data model of the extract that it was made of.
    """

    model: DataModel

    @property
    def noun(self) -> str:
        """What the release counts, in the plural."""
        return "members" if self.model.has_members else "resources"

    def size(self, counts: Mapping[str, JSON]) -> int:
        """Return a release's members or resources, from its manifest's counts."""
        return counts["patients"] if self.model.has_members else sum(counts["resources"].values())

    def changed(self, changes: Changes) -> ChangeCounts:
        """Return how many members or resources were added, changed and retracted."""
        if self.model.has_members:
            return changes.patients
        return sum(changes.resources.values(), ChangeCounts())


@dataclass(frozen=True, slots=True)
class Shard(ObjectRef):
    """A catalog shard that a manifest names.

    Attributes:
        patients: how many patients in it have a block.
        retracted: how many had one once.
    """

    patients: int
    retracted: int


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """Facts about a release that publishing takes from its caller and only writes down.

    Attributes:
        kind: a full extract, a delta, a rollback, or a stand-in (`catalog_repair`).
        inputs: the extract's files: `name`, `sha256`, `bytes`; `table` if rows came from a table.
        mapping: the mapping set, its version, view, and layout, search columns, and a fingerprint.
        run: counts of rows in, quarantined, superseded, and the like.
        totals: money: claim type -> name -> decimal text.
        claims: claim type -> name -> how many claims have an amount in that sum.
        reports: reports and quarantine files, already in the store.
        ids: what logical ids are made with (`id_facts`); empty in older releases.
    """

    kind: Kind
    inputs: Sequence[Mapping[str, JSON]] = ()
    mapping: Mapping[str, JSON] = field(default_factory=dict)
    run: Mapping[str, JSON] = field(default_factory=dict)
    totals: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reports: Sequence[ObjectRef] = ()
    ids: Mapping[str, JSON] = field(default_factory=dict)
    claims: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A release.

    Attributes:
        release: its ID: time of creation, then a hash of everything else; IDs sort by time.
        parent: ID of the previous release; None for the first.
        created: FHIR instant of the run.
        facts: facts about the run.
        counts: `patients`, `retractedPatients`, `resources` by type, `changes` against the parent.
        catalog_bits: how many bits of a patient's place number its shard.
        catalog: the shards by number; None if no patient is in it.
        directory_bits: the same for `Type/id` of directory resources.
        directory: the directory's shards by number; None if no resource is in it.
        segments: the segments of its columns by number; None if no resource is in it. Empty for
            releases of claims, whose directory is searched by member.
        bulk: the bulk files of this release; see docs/published-tree.md.
        parent_sha256: hash of the parent's manifest; "" for the first release and for manifests of
            an older version of the program.
        share_read: number of the share of its parent's objects that the run read, from 1 on; 0 for
            the first release and for manifests of an older version of the program.
    """

    release: str
    parent: str | None
    created: str
    facts: ReleaseFacts
    counts: Mapping[str, JSON]
    catalog_bits: int
    catalog: Sequence[Shard | None]
    directory_bits: int
    directory: Sequence[CatalogEntry | None]
    bulk: Mapping[str, JSON] = field(default_factory=dict)
    parent_sha256: str = ""
    segments: Sequence[SegmentEntry | None] = ()
    share_read: int = 0

    @property
    def subject(self) -> ReleaseSubject:
        """What the release is about."""
        return ReleaseSubject(stated_model(self.facts.mapping))

    @property
    def rolled_back_to(self) -> str | None:
        """Id of the release that it went back to; None if it is no rollback."""
        return str(self.facts.run["rollbackTo"]) if self.facts.kind == "rollback" else None

    @property
    def due_share(self) -> int:
        """Number of the share of this release's objects that the next run reads."""
        return self.share_read % SHARES + 1

    @property
    def is_stand_in(self) -> bool:
        """Whether it was never published, and stands in for its damaged parent."""
        return self.facts.kind == "stand-in"

    @property
    def link(self) -> tuple[str | None, str]:
        """ID and hash that the next release states as its parent's."""
        if self.is_stand_in:
            return self.parent, self.parent_sha256
        return self.release, sha256(self.to_bytes())

    @property
    def key(self) -> str:
        """Key of the manifest."""
        return object_keys.manifest(self.release)

    def objects(self) -> Iterator[tuple[Role, ObjectRef]]:
        """Yield every object that the manifest names, with its role.

        With the blocks and indexes of its patients, which the catalog names (`Release.objects`),
        these are all objects of a release: what is not among them is deleted by a prune.
        """
        for shard in self.catalog:
            if shard is not None:
                yield "catalog", shard
        for entry in self.directory:
            for ref in () if entry is None else entry.objects():
                yield "directory", ref
        for segment in self.segments:
            if segment is not None:
                yield "segment", segment
        for ref in self.facts.reports:
            yield "report", ref
        for ref in self._bulk_files():
            yield "bulk", ref

    def objects_of(self, *roles: Role) -> list[ObjectRef]:
        """Return the objects with one of some roles."""
        return [ref for role, ref in self.objects() if role in roles]

    def _bulk_files(self) -> Iterable[ObjectRef]:
        if not self.bulk:
            return ()
        files: dict[str, ObjectRef] = {}
        groups = (self.bulk["snapshot"], self.bulk["increment"] or {}, *self.bulk["increments"])
        for group in (*groups, *self.bulk.get("planFinder", ())):
            lists = (group.get(name, ()) for name in ("output", "deleted", "files"))
            for entry in chain.from_iterable(lists):
                files[entry["key"]] = ObjectRef(entry["key"], entry["sha256"], entry["bytes"])
        return files.values()

    def to_bytes(self) -> bytes:
        """Return the manifest as canonical JSON."""
        return dumps(self._to_json()) + b"\n"

    def _to_json(self) -> JSON:
        later_facts = {
            "ids": self.facts.ids,
            "claims": self.facts.claims,
            "parentSha256": self.parent_sha256,
            "shareRead": self.share_read,
        }
        directory = {
            "bits": self.directory_bits,
            "shards": [None if entry is None else entry.to_json() for entry in self.directory],
        }
        if self.segments:
            directory["segments"] = msgspec.to_builtins(self.segments)
        manifest = {
            **msgspec.to_builtins(self.facts),
            "format": object_keys.FORMAT,
            "release": self.release,
            "parent": self.parent,
            "created": self.created,
            "counts": dict(self.counts),
            "catalog": {"bits": self.catalog_bits, "shards": msgspec.to_builtins(self.catalog)},
            "directory": directory,
            "bulk": dict(self.bulk),
            **later_facts,
        }
        # Older releases have none of the later facts: a manifest says them if there are any.
        for name, value in later_facts.items():
            if not value:
                del manifest[name]
        return manifest

    def named(self, parent: Manifest | None) -> Manifest:
        """Return a copy with its parent's hash and its own ID.

        The id is made of `created`, and of everything that the manifest says.

        Reports are left out of it, because they name the release.

        Where the clock went back behind the parent, the id counts on from the parent's, so that
        ids always sort in the order of the releases.
        """
        previous_id = self.parent if parent is None else parent.release
        id_time = id_time_after(instant(self.created), previous_id)
        parent_digest = self.parent_sha256 if parent is None else parent.link[1]
        manifest = replace(self, parent_sha256=parent_digest)
        id_suffix = _id_suffix(manifest._to_json())  # noqa: SLF001 - its own class
        return replace(manifest, release=f"{id_time:{_ID_TIME}}-{id_suffix}")

    def with_reports(self, reports: Sequence[ObjectRef]) -> Manifest:
        """Return a copy that names stored reports and quarantine files."""
        return replace(self, facts=replace(self.facts, reports=reports))

    @classmethod
    def from_bytes(cls, data: bytes, label: str) -> Manifest:
        """Parse a manifest.

        Raises:
            StoreError: the bytes are no manifest, or of a later format.
        """
        value = loads(data, label)
        try:
            if value["format"] != object_keys.FORMAT:
                raise StoreError(
                    f"{label} is of format {value['format']}, which this version cannot "
                    "read; use the version that wrote it, or a later one"
                )
            catalog, directory = value["catalog"], value["directory"]
            return cls(
                value["release"],
                value["parent"],
                value["created"],
                msgspec.convert(value, ReleaseFacts),
                value["counts"],
                catalog["bits"],
                msgspec.convert(catalog["shards"], list[Shard | None]),
                directory["bits"],
                [
                    None if entry is None else entry_of(str(number), entry)
                    for number, entry in enumerate(directory["shards"])
                ],
                value["bulk"],
                value.get("parentSha256", ""),
                msgspec.convert(directory.get("segments", []), list[SegmentEntry | None]),
                value.get("shareRead", 0),
            )
        except (KeyError, TypeError, msgspec.ValidationError):
            raise StoreError(
                f"{label} is not a manifest: the object is damaged; run verify"
            ) from None


@dataclass(frozen=True, slots=True)
class Pointer:
    """Content of `current.json`.

    Attributes:
        release: id of the release that readers see.
        manifest: key of its manifest.
        sha256: of the manifest's bytes.
        fence: how often it was rewritten so that a run which had read it cannot commit.
    """

    release: str
    manifest: str
    sha256: str
    fence: int = 0

    def to_bytes(self) -> bytes:
        """Return the pointer as canonical JSON."""
        document = msgspec.to_builtins(self)
        if not self.fence:
            del document["fence"]
        return dumps(document) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, object_name: str) -> Pointer:
        """Parse a pointer.

        Raises:
            StoreError: the bytes are no pointer.
        """
        try:
            value = loads(data, object_name)
            fence = value.get("fence", 0)
            pointer = cls(value["release"], value["manifest"], value["sha256"], int(fence))
            if RELEASE.fullmatch(pointer.release) and pointer.manifest == object_keys.manifest(
                pointer.release
            ):
                return pointer
        except (StoreError, AttributeError, KeyError, TypeError, ValueError):
            pass
        raise StoreError(
            f"{object_name} is not a pointer to a release: the object is damaged; {RESTORE_POINTER}"
        )


def is_named(data: bytes, release: str, object_name: str) -> bool:
    """Return whether a manifest's bytes match the hash in its release ID.

    Raises:
        StoreError: the bytes are no JSON.
    """
    value = loads(data, object_name)
    states_release = isinstance(value, dict) and value.get("release") == release
    return states_release and release.endswith(f"-{_id_suffix(value)}")


def _id_suffix(value: dict[str, JSON]) -> str:
    """Return the suffix of a release ID: a hash of its manifest."""
    facts = {name: fact for name, fact in value.items() if name not in ("release", "reports")}
    return sha256(dumps(facts))[:12]


def stamp_of(release: str) -> datetime:
    """Return the time in a release ID."""
    return datetime.strptime(release.partition("-")[0], _ID_TIME).replace(tzinfo=UTC)


def id_time_after(when: datetime, release: str | None) -> datetime:
    """Return the time for the ID of what follows a release: a second later, if `when` is not."""
    id_time = when.astimezone(UTC).replace(microsecond=0)
    return id_time if release is None else max(id_time, stamp_of(release) + timedelta(seconds=1))


@dataclass(frozen=True, slots=True)
class ChangeCounts:
    """Counts of added, changed and retracted items.

    Attributes:
        backdated: changed ones whose source states a time that isn't later than before.
    """

    added: int = 0
    changed: int = 0
    retracted: int = 0
    backdated: int = 0

    def __add__(self, other: ChangeCounts) -> ChangeCounts:
        """Return the sums."""
        return ChangeCounts(
            self.added + other.added,
            self.changed + other.changed,
            self.retracted + other.retracted,
            self.backdated + other.backdated,
        )

    @property
    def touched(self) -> int:
        """Number of added, changed and retracted items."""
        return self.added + self.changed + self.retracted


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to patients and to resources.

    Attributes:
        patients: by what happened to anything in their blocks.
        resources: by type; added, changed (content or stated time) and retracted.
    """

    patients: ChangeCounts = ChangeCounts()
    resources: Mapping[str, ChangeCounts] = field(default_factory=dict)

    def to_json(self) -> JSON:
        """Return the counts as a manifest states them; types without a change are left out."""
        touched = {name: tally for name, tally in self.resources.items() if tally.touched}
        value = msgspec.to_builtins(replace(self, resources=touched))
        for counts in (value["patients"], *value["resources"].values()):
            if not counts["backdated"]:
                del counts["backdated"]
        return value

    @classmethod
    def from_json(cls, value: JSON) -> Changes:
        """Return the counts that a manifest states."""
        return msgspec.convert(value, cls)


def total(changes: Iterable[Changes]) -> Changes:
    """Add up many changes."""
    patients = ChangeCounts()
    resources: dict[str, ChangeCounts] = {}
    for change in changes:
        patients += change.patients
        for name, tally in change.resources.items():
            resources[name] = resources.get(name, ChangeCounts()) + tally
    return Changes(patients, resources)
