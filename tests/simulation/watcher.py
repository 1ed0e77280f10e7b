"""What has to hold after each step, by a reader that is none of the program's.

It reads the tree as docs/published-tree.md has it, with json, gzip and hashlib alone, and compares
it with a model: what each release is to hold, and which releases readers were promised.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.simulation.disk import Disk
from tests.simulation.world import World

POINTER = "current.json"


class Broken(AssertionError):
    """Something does not hold that always has to."""


@dataclass(frozen=True)
class Content:
    """What readers find in a release.

    Attributes:
        patients: patient id -> amounts of the claims.
        directory: ids of what is in the directory.
    """

    patients: Mapping[str, tuple[str, ...]]
    directory: frozenset[str]


@dataclass
class Watcher:
    """The model, and the checks against it.

    Attributes:
        world: for the log.
        disk: what is looked at.
        expected: release id -> what it is to hold; said by a process before it commits.
        history: releases that readers have seen, oldest first.
        promised: releases that a process said are published.
        denied: releases and processes that said that they did not publish them.
        rolled: rollback -> the release that it went back to.
        held: rollbacks that hold until they are resumed from.
    """

    world: World
    disk: Disk
    expected: dict[str, Content] = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    promised: dict[str, str] = field(default_factory=dict)
    denied: list[tuple[str, str]] = field(default_factory=list)
    rolled: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    _seen: int = -1
    _needs: dict[str, dict[str, str]] = field(default_factory=dict)
    _by: dict[str, str] = field(default_factory=dict)

    def look(self):
        """Check everything, unless nothing was written since the last look.

        Raises:
            Broken: something does not hold.
        """
        if self.disk.changes == self._seen:
            return
        self._seen = self.disk.changes
        pointer = self.disk.data(POINTER)
        if pointer is None:
            _check(not self.history, "current.json is gone")
            return
        told = json.loads(pointer)
        release = told["release"]
        if not self.history or release != self.history[-1]:
            self._succeed(release, told)
            self._by[release] = self.disk.writers[POINTER]
        right = self.disk.tag(told["manifest"]) == told["sha256"]
        _check(right, f"the manifest of {release}, which is present, is gone or another")
        for kept in self._lineage():
            for key, tag in self._needs[kept].items():
                _check(self.disk.tag(key) == tag, f"{key}, which {kept} names, is gone or another")
        for name, who in self.promised.items():
            _check(name in self.history, f"{who} said that {name} is published, and it never was")
        for name, who in self.denied:
            _check(self._by.get(name) != who, f"{who} said that nothing was changed; so was {name}")
        self.held -= {
            one for one in self.held if self.disk.data(f"releases/{one}/resumed.json") is not None
        }

    def promise(self, release, who):
        """Note that a process says that a release is published."""
        self.promised[release] = who
        self._seen = -1

    def deny(self, release, who):
        """Note that a process says that it published nothing."""
        self.denied.append((release, who))
        self._seen = -1

    def hold(self, release, to, who):
        """Note that a process says that a rollback is published, and that it holds."""
        self.promise(release, who)
        self.look()
        _check(self.rolled.get(release) == to, f"{who} did not go back to {to}")
        self.held.add(release)

    def made_by_run(self, release):
        """Return the release of a run whose content a release has."""
        while release in self.rolled:
            release = self.rolled[release]
        return release

    def kept(self):
        """Return the releases that can be gone back to, newest first."""
        return list(self._lineage())

    def must_keep(self, before, keep, who):
        """Check that a prune left the newest releases, as far as they were there before it."""
        for release in self.history[-keep:]:
            gone = release in before and self.disk.data(_manifest(release)) is None
            _check(
                not gone or self.disk.deleted[_manifest(release)] != who,
                f"{who} dropped {release}, which was to be kept",
            )

    def content(self, release):
        """Return what a release holds, read from what is on the disk."""
        manifest = self._json(_manifest(release))
        patients = {}
        for patient, row in self._rows(manifest):
            if row.get("block") is not None:
                lines = self._lines(row["block"])
                claims = [one for one in lines if one["resourceType"] == "ExplanationOfBenefit"]
                patients[patient] = tuple(
                    sorted(one["payment"]["amount"]["value"] for one in claims)
                )
                ids = json.loads(self._object(row["index"]))["ids"]
                _check(
                    ids == [one["id"] for one in lines[1:]], f"the index of {patient} is another"
                )
        directory = {
            one["id"]
            for shard in manifest["directory"]["shards"]
            if shard is not None and shard.get("block") is not None
            for one in self._lines(shard["block"])
        }
        return Content(patients, frozenset(directory))

    def _succeed(self, release, told):
        """Check a release that readers see for the first time."""
        before = self.history[-1] if self.history else None
        _check(release not in self.history, f"readers went back to {release} without a rollback")
        manifest = self._json(_manifest(release), told["sha256"])
        if manifest["kind"] == "rollback":
            self.rolled[release] = manifest["run"]["rollbackTo"]
            self.expected[release] = self.expected[self.made_by_run(release)]
        _check(release in self.expected, f"{release} is none that a process wanted to publish")
        _check(
            manifest["parent"] == before,
            f"{release} was made on top of {manifest['parent']}, and published over {before}",
        )
        _check(
            before not in self.held or manifest["kind"] == "rollback",
            f"{release} was published over {before}, a rollback that holds",
        )
        if manifest["kind"] == "rollback":
            self.held.add(release)
        self._needs[release] = self._named(release, manifest)
        found = self.content(release)
        _check(found == self.expected[release], f"{release} holds something else than it should")
        self.history.append(release)
        self.world.note(f"readers: {release}")

    def _lineage(self):
        """Yield the releases that can be gone back to."""
        for one in reversed(self.history):
            if self.disk.data(_manifest(one)) is None:
                return
            yield one

    def _named(self, release, manifest):
        key = _manifest(release)
        named = {key: self.disk.tag(key)}
        for shard in manifest["catalog"]["shards"]:
            if shard is not None:
                named[shard["key"]] = shard["sha256"]
        rows = [row for _, row in self._rows(manifest)]
        for row in [*rows, *(one for one in manifest["directory"]["shards"] if one is not None)]:
            for key in (row.get("block"), row["index"]):
                if key is not None:
                    named[key] = key.rpartition("/")[2].partition(".")[0]
        for one in manifest["reports"]:
            named[one["key"]] = one["sha256"]
        bulk = manifest["bulk"]
        for part in (
            (bulk["snapshot"], bulk["increment"] or {}, *bulk["increments"]) if bulk else ()
        ):
            for one in [*part.get("output", ()), *part.get("deleted", ())]:
                named[one["key"]] = one["sha256"]
        return named

    def _rows(self, manifest):
        for shard in manifest["catalog"]["shards"]:
            if shard is not None:
                yield from self._json(shard["key"], shard["sha256"])["patients"].items()

    def _lines(self, key):
        text = gzip.decompress(self._object(key))
        return [json.loads(line) for line in text.splitlines()]

    def _json(self, key, digest=None):
        return json.loads(self._object(key, digest))

    def _object(self, key, digest=None):
        data = self.disk.data(key)
        _check(data is not None, f"{key} is gone")
        if not key.startswith("releases/"):
            digest = digest or key.rpartition("/")[2].partition(".")[0]
        right = digest is None or hashlib.sha256(data).hexdigest() == digest
        _check(right, f"{key} is another")
        return data


def _manifest(release):
    return f"releases/{release}/manifest.json"


def _check(holds, what):
    if not holds:
        raise Broken(what)
