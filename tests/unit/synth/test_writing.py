"""Files appear whole and together, or not at all."""

import errno
import json
from dataclasses import replace

import pytest

from etl.errors import StoreError, UsageError
from etl.synth import Progress, Spec, write_extract
from etl.synth.extract_writer import OutputFile
from tests.unit.synth.written import WORLD, folder_of, hashes, read, world

SMALL = Spec(members=8, seed=5)


def test_the_manifest_tells_layout_kind_day_rows_and_hashes():
    folder = folder_of(WORLD)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    found = hashes(folder)
    counts = {path: len(rows) for path, rows in world(WORLD).items()}

    assert (manifest["layout"], manifest["kind"], manifest["as_of"]) == (
        "cpcds",
        "full",
        "2025-12-31",
    )
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        name: digest for name, digest in found.items() if name != "manifest.json"
    }
    assert {
        name.removesuffix(".csv"): file["rows"] for name, file in manifest["files"].items()
    } == counts


def test_the_ledger_is_in_the_manifest_because_a_loader_wants_every_file_there():
    folder = folder_of(replace(SMALL, fault_rate=0.5))
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))

    assert manifest["files"]["faults.csv"]["sha256"] == hashes(folder)["faults.csv"]


def test_what_was_written_is_counted(tmp_path):
    written = write_extract(tmp_path, replace(SMALL, fault_rate=0.5))
    rows = read(tmp_path)

    assert written.rows == {table: len(found) for table, found in rows.items()}
    assert written.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert written.faults == len((tmp_path / "faults.csv").read_text().splitlines()) - 2


def test_progress_is_told_and_ends_with_everybody(tmp_path):
    told: list[Progress] = []

    written = write_extract(tmp_path, Spec(members=1100, since=_late()), told.append)

    assert [progress.done for progress in told] == [500, 1000, 1100]
    assert {progress.members for progress in told} == {1100}
    assert told[-1].rows == sum(written.rows.values())


def _late():
    return SMALL.as_of.replace(year=SMALL.as_of.year - 1)


def test_writing_again_replaces_the_files_and_leaves_others_alone(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "sub").mkdir()
    write_extract(tmp_path, replace(SMALL, seed=6, fault_rate=0.5))
    write_extract(tmp_path, SMALL)

    assert (tmp_path / "README.md").read_text() == "mine"
    assert not (tmp_path / "faults.csv").exists()
    assert {name: digest for name, digest in hashes(tmp_path).items() if name != "README.md"} == (
        hashes(folder_of(SMALL))
    )


@pytest.mark.parametrize(
    "other", ["claim.csv", "claim-00001.csv", "member.parquet", "CLAIM.PSV.GZ"]
)
def test_a_folder_with_another_extract_is_refused_and_left_as_it_was(tmp_path, other):
    (tmp_path / other).write_text("mine")

    with pytest.raises(UsageError, match=f"holds {other} of another extract"):
        write_extract(tmp_path, replace(SMALL, gzip=True))

    assert [path.name for path in tmp_path.iterdir()] == [other]


def test_a_file_where_the_folder_should_be_is_a_clear_error(tmp_path):
    (tmp_path / "out").write_text("mine")

    with pytest.raises(StoreError, match="cannot be written"):
        write_extract(tmp_path / "out", SMALL)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
@pytest.mark.parametrize("before", [0, 1, 20_000, 60_000])
def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(
    tmp_path, monkeypatch, before, format_
):
    spec = replace(SMALL, format=format_)
    write_extract(tmp_path, replace(spec, seed=6))
    kept = hashes(tmp_path)
    room = before

    def write(self, data):
        nonlocal room
        room -= len(data)
        if room < 0 and not self.abandoned:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, data)

    whole = OutputFile.write
    monkeypatch.setattr(OutputFile, "write", write)

    with pytest.raises(StoreError, match="No space left on device; nothing was left"):
        write_extract(tmp_path, spec)

    assert hashes(tmp_path) == kept


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(_progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_extract(tmp_path, SMALL, interrupt)

    assert list(tmp_path.iterdir()) == []
