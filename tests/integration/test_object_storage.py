"""The command on object storage: the same release as on a folder, looked after the same way."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from etl.bootstrap import opened_extract, use_cases
from etl.bootstrap.settings import read_settings, store_options
from etl.publish.object_keys import CLOSED
from etl.publish.reader import open_current
from etl.storage.open_store import open_store
from etl.storage.port import StoreOptions
from tests.e2e.commands import ANY_CHANGE, invoke, same_definitions
from tests.given.object_storage import moto_bucket
from tests.integration.nights import blocks, full

TARGET = "s3://fhir/payer"


@pytest.fixture
def bucket(monkeypatch):
    with moto_bucket(monkeypatch):
        yield


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(opened_extract, "load_definitions", same_definitions)
    monkeypatch.setenv("CPCDS_REPORT__GX_ROWS", "0")
    monkeypatch.setenv("CPCDS_RUN__WORKERS", "1")
    for name, value in ANY_CHANGE.items():
        monkeypatch.setenv(name, value)


def said(*arguments):
    called = invoke(*arguments, "--json")
    assert called.exit_code == 0, called.output
    return json.loads(called.stdout)


@pytest.mark.slow
def test_a_bucket_holds_the_same_blocks_as_a_folder_and_is_looked_after(
    payer, extracts, bucket, monkeypatch
):
    payer.begin(full(extracts / "full0", 0))
    first = said("run", full(extracts / "full0", 0), "--to", TARGET)
    there = open_current(open_store(TARGET, StoreOptions())).release
    assert blocks(there) == blocks(payer.release)
    second = said("run", full(extracts / "full1", 1), "--to", TARGET)
    listed = said("releases", TARGET)
    assert [one["release"] for one in listed] == [second["release"], first["release"]]
    assert [one["current"] for one in listed] == [True, False]
    difference = said("diff", TARGET, first["release"], "current")
    assert difference["patients"] == listed[0]["counts"]["changes"]["patients"]
    assert difference["money"][0]["category"] == "submitted"
    assert invoke("verify", TARGET).exit_code == 0
    back = said("rollback", TARGET, first["release"])
    assert back["rollback_to"] == first["release"]
    again = open_current(open_store(TARGET, StoreOptions())).release
    assert blocks(again) == blocks(there)
    pruned = said("prune", TARGET, "--keep", "1", "--dry-run")
    assert pruned["dropped"] == []
    assert pruned["kept_for_their_age"] == [second["release"], first["release"]]
    assert len(said("releases", TARGET)) == 3
    assert len(said("prune", TARGET, "--keep", "2", "--older-than", "7")["kept"]) == 3
    monkeypatch.setattr(use_cases, "now", lambda: datetime.now(UTC) + timedelta(days=2))
    assert said("resume", TARGET)["resumed"] == back["release"]
    done = said("prune", TARGET, "--keep", "1")
    assert done["kept"] == [back["release"]]
    assert done["dropped"] == [second["release"], first["release"]]
    assert [one["release"] for one in said("releases", TARGET)] == [back["release"]]


def test_verify_names_what_is_broken_and_exits_with_5(payer, extracts):
    payer.begin(full(extracts / "full0", 0))
    path = next(payer.target.glob("patients/*/*.ndjson.gz"))
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-9])
    called = invoke("verify", payer.target)
    assert called.exit_code == 5
    assert path.name in called.stdout
    assert "1 problem in " in called.stderr


def test_what_cannot_be_found_is_said_in_one_sentence(payer, extracts):
    (empty := payer.target.with_name("empty")).mkdir()
    assert "nothing has been published yet" in invoke("releases", empty).stdout
    payer.begin(full(extracts / "full0", 0))
    for arguments in (("rollback", payer.target, "20"), ("diff", payer.target, "x", "current")):
        called = invoke(*arguments)
        assert called.exit_code == 2
        assert called.stderr.startswith("error: ")
    assert invoke("prune", payer.target, "--keep", "0").exit_code == 2


def test_every_storage_setting_reaches_the_store():
    given = {
        "endpoint_url": "http://127.0.0.1:1",
        "sse": "aws:kms",
        "sse_key": "alias/phi",
        "storage_class": "STANDARD_IA",
    }
    options = store_options(read_settings(None, store=given))
    assert options == StoreOptions(**given, closed=CLOSED)
