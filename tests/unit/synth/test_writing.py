"""Files appear whole and together, or not at all."""

import errno
import json
from dataclasses import replace

import pytest

from etl.errors import StoreError, UsageError
from etl.synth import Spec, write_extract
from etl.synth.extract_writer import OutputFile
from tests.unit.synth.written import WORLD, folder_of, hashes, world

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
