"""The cache of compiled definitions: equal to what is compiled, read only with the payer's key."""

import pytest

from etl.bootstrap.definitions import load_definitions, read_compiled, write_compiled
from etl.bootstrap.settings import read_settings
from etl.model.data_models import DIRECTORY

FACTS = {"files": "as they are"}
KEY = b"a key of this test, of 32 and more characters"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Have the cache in a folder of the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/cpcds-bluebutton"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    """Return definitions that were compiled with KEY."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return load_definitions(read_settings(None, id_key=KEY.decode()), DIRECTORY)


def test_what_is_read_equals_what_was_compiled(definitions, cache):
    assert read_compiled(FACTS, KEY) is None
    write_compiled(definitions, FACTS)
    assert read_compiled(FACTS, KEY) == definitions
    (file,) = cache.iterdir()
    assert KEY not in file.read_bytes()


def test_other_facts_and_other_keys_find_nothing(definitions, cache):
    write_compiled(definitions, FACTS)
    assert read_compiled({**FACTS, "payer": "another"}, KEY) is None
    assert read_compiled(FACTS, KEY + b"!") is None
    (file,) = cache.iterdir()
    data = file.read_bytes()
    file.write_bytes(data[:-1] + b"!")
    assert read_compiled(FACTS, KEY) is None


def test_a_folder_that_others_can_write_into_is_not_used(definitions, cache):
    write_compiled(definitions, FACTS)
    cache.chmod(0o777)
    assert read_compiled(FACTS, KEY) is None
    write_compiled(definitions, {"more": ""})
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_made_is_done_without(definitions, tmp_path):
    (tmp_path / "cache").write_text("no folder")
    write_compiled(definitions, FACTS)
    assert read_compiled(FACTS, KEY) is None


def test_a_changed_setting_or_file_is_compiled_again(tmp_path, cache):
    settings = read_settings(None, id_key=KEY.decode())
    first = load_definitions(settings, DIRECTORY)
    assert load_definitions(settings, DIRECTORY) == first
    assert len(list(cache.iterdir())) == 1
    (tmp_path / "own/rules").mkdir(parents=True)
    overlaid = settings.model_copy(update={"mappings": (tmp_path / "own",)})
    assert load_definitions(overlaid, DIRECTORY) == first
    (tmp_path / "own/rules/note.yaml").write_text("[]\n")
    assert load_definitions(overlaid, DIRECTORY).fingerprint != first.fingerprint
    assert len(list(cache.iterdir())) == 2
