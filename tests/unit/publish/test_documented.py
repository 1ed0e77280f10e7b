"""The tree is what docs/published-tree.md says: a stranger's reader, and every name in it."""

import gzip
import hashlib
import json
import re
import zlib
from pathlib import Path

from etl.storage.local import LocalStore
from tests.unit.publish.samples import (
    LATER,
    NOW,
    logical_id,
    patient,
    payer,
    publish_with_bulk,
    resource,
)

PAGE = (Path(__file__).parents[3] / "docs/published-tree.md").read_text()


def published(folder):
    store = LocalStore(folder)
    doctors = [resource("Practitioner", f"d{number}") for number in range(600)]
    nights = [
        ([patient("anna", 3000, last_updated=NOW), patient("bert", 2)], NOW),
        ([patient("anna", 3001, last_updated=NOW)], LATER),
    ]
    for people, now in nights:
        publish_with_bulk(store, people, now, directory=[payer(), *doctors])
    return folder


class Stranger:
    """A reader written from the page alone: no code of the program is used."""

    def __init__(self, tree):
        self.tree = tree
        pointer = json.loads((tree / "current.json").read_bytes())
        data = (tree / pointer["manifest"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == pointer["sha256"]
        self.manifest = json.loads(data)
        assert self.manifest["format"] == 1

    def row(self, patient_id):
        catalog = self.manifest["catalog"]
        shard = catalog["shards"][self.shard(patient_id, catalog["bits"])]
        text = (self.tree / shard["key"]).read_text()
        for line in text.split("\n"):
            if line.startswith(f'"{patient_id}":'):
                return json.loads(line.partition(":")[2].removesuffix(","))
        return None

    def resource(self, row, kind, resource_id):
        with (self.tree / row["index"]).open("rb") as file:
            line = file.readline()
            base = file.tell()
            head = json.loads(line.removesuffix(b",\n") + b"}")["head"]

            def section(name):
                start, length, check = head["sections"][name]
                file.seek(base + start)
                text = file.read(length)
                assert zlib.crc32(text) == check
                return json.loads(text)

            at = section("ids").index(resource_id)
            first = 0
            for name, count in head["types"]:
                if first <= at < first + count:
                    assert name == kind
                first += count
            offset = first = 0
            for rows, length, _ in section("parts"):
                if first <= at < first + rows:
                    break
                first += rows
                offset += length
            version = section("versions")[at]
        with (self.tree / head["block"]).open("rb") as file:
            file.seek(offset)
            line = gzip.decompress(file.read(length)).split(b"\n")[at - first]
        found = json.loads(line)
        meta = found["meta"]
        stamp = f'"versionId":"{meta["versionId"]}","lastUpdated":"{meta["lastUpdated"]}",'
        content = line.replace(stamp.encode(), b"", 1)
        assert hashlib.sha256(content).hexdigest()[:32] == version == meta["versionId"]
        return found

    @staticmethod
    def shard(name, bits):
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) >> (256 - bits)


def test_a_stranger_can_read_the_tree(tmp_path):
    stranger = Stranger(published(tmp_path / "tree"))
    row = stranger.row(logical_id("anna"))
    for kind, name in (
        ("Patient", "anna"),
        ("ExplanationOfBenefit", "anna-claim-0"),
        ("ExplanationOfBenefit", "anna-claim-1234"),
        ("ExplanationOfBenefit", "anna-claim-3000"),
    ):
        found = stranger.resource(row, kind, logical_id(name))
        assert (found["resourceType"], found["id"]) == (kind, logical_id(name))
    directory = stranger.manifest["directory"]
    name = f"Practitioner/{logical_id('d7')}"
    shard = directory["shards"][stranger.shard(name, directory["bits"])]
    assert stranger.resource(shard, "Practitioner", logical_id("d7"))["id"] == logical_id("d7")
    gone = stranger.row(logical_id("bert"))
    assert gone["retracted"] == LATER
    assert stranger.row(logical_id("nobody")) is None


def test_every_member_of_every_json_object_is_on_the_page(tmp_path):
    tree = published(tmp_path / "tree")
    manifest = json.loads(next(iter(sorted(tree.glob("releases/*/manifest.json")))).read_bytes())
    names = set(manifest) | set(manifest["counts"]) | set(manifest["bulk"])
    names |= set(manifest["catalog"]["shards"][0]) | set(manifest["bulk"]["snapshot"])
    names |= set(manifest["bulk"]["snapshot"]["output"][0])
    for path in tree.glob("catalog/*.json"):
        for row in json.loads(path.read_bytes())["patients"].values():
            names |= set(row)
    for path in tree.glob("patients/*/*.index.json"):
        index = json.loads(path.read_bytes())
        names |= set(index["head"]) | {name for name in index if not name.startswith("search/")}
    missing = {name for name in names if not re.search(rf"\b{name}\b", PAGE)}
    assert missing == set()
