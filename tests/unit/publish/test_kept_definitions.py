"""What changed in the definitions of two releases: files and lines, without their texts."""

from dataclasses import dataclass

import pytest

from etl.publish.kept_definitions import DEFINITIONS, definitions_note, hash_definitions
from etl.publish.kept_objects import to_bytes
from etl.publish.reader import Tree
from tests.given.tables import table
from tests.memory_store import MemoryStore

FILES = {"rules/10.yaml": "one\ntwo\nthree\nfour\n", "c4bb/eob.yaml": "id: 1\n"}
SETTINGS = {"the setting publish.view": "basis"}


@dataclass
class Kept:
    """A release that kept its definitions."""

    store: MemoryStore
    ref: object
    id: str = "R1"

    def read(self, kind):
        return None if self.ref is None else Tree(self.store).read(kind, self.ref)


def kept(files=FILES, settings=SETTINGS):
    store = MemoryStore()
    definitions = to_bytes(hash_definitions(files, settings))
    return Kept(store, Tree(store).write(DEFINITIONS, definitions))


@pytest.mark.parametrize(*table(__file__, "changes"))
def test_a_change_is_named_with_its_file_and_lines(text, said):
    files = {
        name: content for name, content in (FILES | {"rules/10.yaml": text}).items() if content
    }
    note = definitions_note(kept(), hash_definitions(files, SETTINGS))
    assert note == (said and f"the definitions changed since release R1: rules/10.yaml ({said})")


def test_a_new_file_and_a_changed_setting_are_named():
    files = FILES | {"rules/own.yaml": "own\n"}
    settings = {"the setting publish.view": "financial"}
    expected = (
        "the definitions changed since release R1: rules/own.yaml (new); the setting publish.view"
    )
    assert definitions_note(kept(), hash_definitions(files, settings)) == expected
    assert definitions_note(kept(), kept(files, settings)) == expected


def test_no_text_of_a_definition_is_kept():
    secret = to_bytes(hash_definitions({"codes": "F10.20\n"}, {"payer": "Acme"}))
    assert b"F10.20" not in secret
    assert b"Acme" not in secret


def test_releases_without_definitions_are_not_compared():
    current = hash_definitions(FILES, SETTINGS)
    assert definitions_note(None, current) == ""
    assert definitions_note(Kept(MemoryStore(), None), current) == ""


def test_damaged_definitions_stop_nothing():
    release = kept()
    release.store.delete([release.ref.key])
    release.store.put(release.ref.key, b"{}")
    assert "damaged" in definitions_note(release, hash_definitions({}, {}))
