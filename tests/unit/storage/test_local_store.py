"""What the folder store does when the machine does not play along."""

import asyncio
import errno
import hashlib
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from stat import S_IMODE

import pytest

from etl.errors import CommitUnknown, NotFound, StoreError
from etl.storage import local
from etl.storage.async_objects import FolderObjects
from etl.storage.local import STAGING, LocalStore
from tests.given.tables import table


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "tree", lock_seconds=0.2)


def test_nothing_is_made_before_the_first_write(store):
    with pytest.raises(NotFound):
        store.get("current.json")
    assert list(store.list()) == []
    store.sync()
    assert not Path(store.name).exists()


def modes(folder):
    return {
        path.relative_to(folder).as_posix(): oct(S_IMODE(path.stat().st_mode))
        for path in sorted((folder, *folder.rglob("*")))
    }


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_folders_and_files_are_their_owners_whatever_the_umask(tmp_path, umask):
    store = LocalStore(tmp_path / "tree")
    store.put("patients/0f/a", b"x")
    store.swap("current.json", b"x", None)
    assert modes(tmp_path / "tree") == {
        ".": "0o700",
        ".lock": "0o600",
        ".staging": "0o700",
        "current.json": "0o600",
        "patients": "0o700",
        "patients/0f": "0o700",
        "patients/0f/a": "0o600",
    }


def test_a_mode_opens_the_tree_but_for_what_is_closed(tmp_path, umask):
    store = LocalStore(tmp_path / "tree", mode=0o750, closed=("rows",))
    store = pickle.loads(pickle.dumps(store))  # noqa: S301 - as another process gets it
    store.put("patients/0f/a", b"x")
    store.put("rows/b", b"x")
    found = modes(tmp_path / "tree")
    assert found.pop(".staging") == "0o700"
    assert found == {
        ".": "0o750",
        "patients": "0o750",
        "patients/0f": "0o750",
        "patients/0f/a": "0o640",
        "rows": "0o700",
        "rows/b": "0o600",
    }


def test_folders_of_an_open_tree_are_closed_and_the_root_is_left_alone(tmp_path):
    folder = tmp_path / "tree/patients/0f"
    folder.mkdir(parents=True)
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o2755)
    LocalStore(tmp_path / "tree").put("patients/0f/a", b"x")
    found = modes(tmp_path / "tree")
    assert (found["."], found["patients"], found["patients/0f"]) == ("0o2755", "0o2700", "0o2700")


def test_a_damaged_object_is_replaced_when_it_is_put_again(store):
    for damaged in (b"", b"12", b"12x45", b"1234567"):
        store.put("a", b"12345")
        store.path("a").write_bytes(damaged)
        store.put("a", b"12345")
        assert store.get("a") == b"12345"


@pytest.mark.parametrize(*table(__file__, "refusals"))
def test_a_disk_that_refuses_is_one_sentence_and_leaves_nothing_behind(
    store, monkeypatch, name, sentence
):
    code = getattr(errno, name)
    store.put("before", b"x")
    tag = store.swap("current.json", b"old", None)

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(StoreError, match=sentence) as raised:
        store.put("patients/a", b"x")
    assert "patients/a" in str(raised.value)
    assert store.name in str(raised.value)
    with pytest.raises(StoreError, match=sentence):
        store.swap("current.json", b"new", tag)
    monkeypatch.undo()
    assert sorted(entry.key for entry in store.list()) == ["before", "current.json"]
    assert list((Path(store.name) / STAGING).iterdir()) == []
    assert store.get("current.json") == b"old"


def test_a_write_that_takes_only_some_bytes_goes_on(store, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:7]))
    store.put("a", b"x" * 100)
    assert store.get("a") == b"x" * 100


def test_a_target_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = LocalStore(tmp_path / "file")
    with pytest.raises(StoreError, match="there is a file where a folder is needed"):
        store.put("a", b"x")
    with pytest.raises(StoreError, match="there is a file where a folder is needed"):
        store.swap("a", b"x", None)
    with pytest.raises(NotFound):
        store.get("a")


def test_a_folder_in_the_place_of_an_object_is_one_sentence(store):
    store.put("a/b", b"x")
    with pytest.raises(StoreError, match="cannot write a"):
        store.put("a", b"x")
    with pytest.raises(StoreError, match="there is a file where a folder is needed"):
        store.put("a/b/c", b"x")


@pytest.mark.parametrize("what", ["a folder", "a link"])
def test_what_stands_in_the_place_of_the_lock_is_named(tmp_path, what):
    lock = tmp_path / ".lock"
    if what == "a link":
        lock.symlink_to(tmp_path / "elsewhere")
    else:
        lock.mkdir()
    store = LocalStore(tmp_path)
    with pytest.raises(StoreError, match=rf"key: there is {what} where .* \({lock}\)"):
        store.swap("key", b"x", None)
    assert not (tmp_path / "key").exists()


def test_a_lock_that_is_held_elsewhere_is_waited_for_and_then_named(store):
    store.put("a", b"x")
    code = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, f"{store.name}/.lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    with pytest.raises(StoreError, match=r"another process has held \.lock for 0\.2 s"):
        store.swap("current.json", b"x", None)
    holder.kill()
    holder.communicate()
    store.swap("current.json", b"x", None)


def test_what_crashed_writers_left_is_no_object_and_is_cleaned(store):
    store.put("a", b"x")
    rubbish = Path(store.name) / STAGING / "0123"
    rubbish.write_bytes(b"half of a bl")
    assert [entry.key for entry in store.list()] == ["a"]
    now = datetime.now(UTC)
    assert store.clean(now - timedelta(hours=1)) == 0
    assert store.clean(now + timedelta(hours=1)) == 1
    assert not rubbish.exists()


def test_a_swap_makes_durable_what_was_put_before_it(store, monkeypatch):
    calls = []
    replace, fsync = os.replace, os.fsync

    def noted_sync(_):
        calls.append("sync")
        return 0

    def noted_replace(staged, to):
        calls.append(Path(to).name)
        replace(staged, to)

    def noted_fsync(descriptor):
        calls.append("fsync")
        fsync(descriptor)

    monkeypatch.setattr(local, "_syncfs", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    store.put("block", b"x")
    store.swap("current.json", b"x", None)
    before, after = ["fsync"] * 3, ["fsync"] * 2  # the block, its folder, and the one above
    assert calls == ["block", *before, "fsync", "current.json", *after]
    calls.clear()
    for number in range(150):
        store.put(f"patients/{number}", b"x")
    store.swap("current.json", b"y", hashlib.sha256(b"x").hexdigest())
    assert calls[-5:] == ["sync", "fsync", "current.json", *after]
    assert len(calls) == 150 + 5


def test_where_one_call_cannot_sync_it_all_each_file_and_folder_is_synced(store, monkeypatch):
    synced = []
    monkeypatch.setattr(local, "_syncfs", local._no_syncfs)
    monkeypatch.setattr(local, "_fsync", synced.append)
    store.put("patients/0f/a", b"x")
    store.put("patients/0f/b", b"x")
    store.sync()
    root = Path(store.name)
    assert set(synced) == {
        root / "patients/0f/a",
        root / "patients/0f/b",
        root / "patients/0f",
        root / "patients",
        root,
        root.parent,
    }
    synced.clear()
    store.sync()
    assert synced == []


def test_what_is_there_already_is_synced_too_for_its_writer_may_have_died_before(
    store, monkeypatch
):
    LocalStore(store.name).put("patients/0f/a", b"x")
    LocalStore(store.name).swap("current.json", b"x", None)
    synced = []
    monkeypatch.setattr(local, "_fsync", synced.append)
    assert not store.put("patients/0f/a", b"x")
    store.read("current.json")
    store.sync()
    assert {store.path("patients/0f/a"), store.path("current.json")} <= set(synced)


def test_a_pointer_that_was_replaced_and_may_not_be_on_the_disk_is_not_said_to_have_failed(
    store, monkeypatch
):
    store.put("a", b"x")
    store.sync()
    tag = store.swap("current.json", b"old", None)
    store.sync()

    def refuse(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local, "_fsync", refuse)
    with pytest.raises(CommitUnknown, match=r"current\.json was replaced"):
        store.swap("current.json", b"new", tag)
    assert store.get("current.json") == b"new"


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_file_is_not_read(store, kind):
    """Reading a device never ends, and opening a pipe waits for a writer."""
    store.put("releases/r/manifest.json", b"x")
    path = store.path("releases/r/signature.json")
    if kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    says = "cannot read .*signature.json: there is a device or a pipe where a file is needed"
    with pytest.raises(StoreError, match=says):
        store.get("releases/r/signature.json")
    with pytest.raises(StoreError, match=says):
        store.get_range("releases/r/signature.json", 0, 10)
    with pytest.raises(StoreError, match="a device or a pipe"):
        asyncio.run(FolderObjects(store.name).get("releases/r/signature.json"))
