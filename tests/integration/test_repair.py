"""Objects that a release names and the store has lost are made again by the next run."""

import json
import shutil
from pathlib import Path

import pytest

from etl.bootstrap import releases, use_cases
from etl.bootstrap.use_cases import Approvals
from etl.errors import StoreError
from etl.pipeline.progress import ignore
from etl.publish.catalog import id_hash
from etl.publish.manifest import SHARES
from etl.publish.verify import verify
from tests.integration.nights import Payer, full, live


@pytest.fixture
def extract(extracts):
    return full(extracts / "full0", 0)


@pytest.fixture
def night(extracts):
    return full(extracts / "full1", 1)


@pytest.fixture
def payer(tmp_path, monkeypatch, extract):
    """Return a payer who published the extract."""
    payer = Payer(tmp_path / "tree", monkeypatch)
    payer.begin(extract)
    return payer


def remade(payer, extract, *, repair=False):
    """Publish an extract; all that readers see then is whole."""
    payer.patch.setattr(use_cases, "now", lambda: payer.at)
    use_cases.run_extract(payer.settings, extract, ignore, repair=repair)
    assert verify(payer.release).problems == []


def blocks(payer, prefix="patients/", ending=".ndjson.gz"):
    return sorted((payer.target / prefix).rglob(f"*{ending}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prefix", "ending"),
    [
        ("patients", ".ndjson.gz"),
        ("patients", ".index.json"),
        ("directory", ".ndjson.gz"),
        ("directory", ".index.json"),
    ],
)
def test_an_object_that_is_gone_is_made_again_by_the_next_night(
    payer, extract, prefix, ending, caplog
):
    before = payer.files()
    lost = blocks(payer, prefix, ending)[0]
    lost.unlink()
    assert not verify(payer.release).ok
    remade(payer, extract)
    after = payer.files()
    key = lost.relative_to(payer.target).as_posix()
    assert after[key] == before[key]
    assert "this run rewrites them" in caplog.text
    first, second = payer.release.manifest.parent, payer.release.id
    assert first is not None
    remade(payer, extract)
    assert payer.release.id == second


@pytest.mark.slow
@pytest.mark.parametrize("left", [None, 10])
def test_a_bulk_file_that_is_gone_or_cut_off_is_made_again_by_the_next_night(
    payer, night, left, caplog
):
    lost = blocks(payer, "bulk")[0]
    data = lost.read_bytes()
    lost.unlink()
    if left is not None:
        lost.write_bytes(data[:left])
    assert not verify(payer.release).ok
    remade(payer, night)
    assert "and bulk files are missing or damaged" in caplog.text


@pytest.mark.slow
def test_members_who_are_not_lost_stay_remembered(payer, extract, night, tmp_path):
    before = payer.files()
    for lost in blocks(payer)[:3]:
        lost.unlink()
    payer.run(night)
    assert verify(payer.release).problems == []
    whole = Payer(tmp_path / "whole", payer.patch)
    whole.begin(extract)
    whole.run(night)
    ours = {key for key in payer.files() if key.startswith(("patients/", "directory/"))}
    assert ours - {key for key in before if key.startswith("patients/")} <= whole.files().keys()
    assert payer.release.manifest.catalog == whole.release.manifest.catalog


def test_a_patient_who_lost_block_and_index_is_published_anew(payer, extract):
    unit = next(iter(payer.release.all_units()))
    for key in (unit.block, unit.index):
        (payer.target / key).unlink()
    remade(payer, extract)
    assert payer.release.unit(unit.id) is not None


def flipped(path):
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flipped, Path.unlink])
@pytest.mark.parametrize("prefix", ["patients", "directory", "bulk"])
def test_repair_makes_again_what_is_damaged_as_well(payer, extract, prefix, damage):
    damage(blocks(payer, prefix)[0])
    remade(payer, extract, repair=True)


def report_of(payer):
    """Return the report of the present release."""
    page = payer.target / "reports" / payer.release.id / "report.json"
    return json.loads(page.read_bytes())


def rules_found(payer):
    """Return how many findings of each rule the report of the present release has."""
    return {rule["rule"]: rule["findings"] for rule in report_of(payer)["rules"]}


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["patients", "directory", "bulk"])
def test_damage_in_the_share_that_is_due_is_made_again_and_told(
    payer, extract, prefix, monkeypatch
):
    for module in ("manifest", "damaged_objects"):
        monkeypatch.setattr(f"etl.publish.{module}.SHARES", 1)
    damaged = blocks(payer, prefix)[0]
    flipped(damaged)
    remade(payer, extract)
    (note,) = report_of(payer)["notes"]
    assert f"of release {payer.release.manifest.parent}, objects of " in note
    assert f"1 in all, the first is {damaged.relative_to(payer.target).as_posix()}" in note
    assert rules_found(payer)["damaged-object"] == 1


@pytest.mark.slow
def test_damage_that_the_work_comes_upon_is_made_again(payer, extract, night, caplog):
    whole = Payer(payer.target.with_name("whole"), payer.patch)
    whole.begin(extract)
    whole.run(night)
    changed = [unit for unit in live(payer.release) if whole.release.unit(unit.id) != unit]
    not_due = [unit for unit in changed if int(id_hash(unit.id)[:8], 16) * SHARES >> 32]
    flipped(payer.target / not_due[0].index)
    remade(payer, night)
    assert "the run begins again" in caplog.text
    assert rules_found(payer)["damaged-object"] == 1


@pytest.fixture
def catalog_damage(payer, night):
    """Publish a night, and damage a shard of its catalog and an index that the shard names."""
    first = payer.release
    payer.run(night)
    (shard,) = set(payer.release.manifest.catalog) - set(first.manifest.catalog)
    indexes = {unit.index for unit in payer.release.all_units()}
    (payer.target / min(indexes - {unit.index for unit in first.all_units()})).unlink()
    flipped(payer.target / shard.key)
    return first


@pytest.mark.slow
@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_the_advice_about_a_damaged_catalog_works(payer, extracts, catalog_damage, is_rolled_back):
    later = full(extracts / "full2", 2)
    before = payer.files()
    with pytest.raises(StoreError, match="run --repair`, or roll back to an intact release"):
        payer.run(later)
    assert payer.files() == before
    approvals = Approvals(repair=True)
    if is_rolled_back:
        releases.roll_back(payer.settings, catalog_damage.id)
        assert verify(payer.release).problems == []
        approvals = Approvals(after_rollback=True)
    damaged = payer.release.id
    payer.run(later, approvals=approvals)
    assert verify(payer.release).problems == []
    assert payer.release.manifest.parent == damaged


@pytest.mark.slow
def test_a_rollback_whose_manifest_is_damaged_stays_in_force(payer, night):
    first = payer.release
    payer.run(night)
    releases.roll_back_and_record(payer.settings, first.id, "")
    (payer.target / payer.release.manifest.key).unlink()
    with pytest.raises(StoreError, match=r"manifest\.json is missing or damaged; restore it"):
        payer.run(night)
    with pytest.raises(StoreError, match=r"was rolled back to .* pass --after-rollback too"):
        payer.run(night, repair=True, approvals=Approvals(repair=True))


@pytest.mark.slow
def test_a_rollback_to_what_is_not_whole_is_refused(payer, night):
    first = payer.release
    payer.run(night)
    gone = {unit.block for unit in first.all_units()} - {
        unit.block for unit in payer.release.all_units()
    }
    (payer.target / str(min(filter(None, gone)))).unlink()
    before = payer.files()
    with pytest.raises(StoreError, match=f"{first.id} is damaged, so nothing was rolled back"):
        releases.roll_back(payer.settings, first.id)
    assert payer.files() == before


def kinds_of_objects(release):
    """Return an object of each kind that a release consists of: kind -> key."""
    kinds = {"manifest": release.manifest.key}
    for role, ref in release.objects():
        folder, _, name = ref.key.partition("/")
        kinds.setdefault(f"{role} {folder} {name.rpartition('.')[2]}", ref.key)
    return kinds


@pytest.mark.slow
@pytest.mark.parametrize(("nights", "damage"), [(1, Path.unlink), (2, flipped)])
def test_repair_ends_in_an_intact_tree_whatever_is_damaged(
    payer, extract, night, nights, damage, monkeypatch, tmp_path
):
    if nights == 2:
        payer.run(night)
        extract = night
    before = payer.release
    kinds = kinds_of_objects(before)
    assert {"manifest", "catalog catalog json", "report memory ledger"} <= kinds.keys()
    for number, key in enumerate(kinds.values()):
        hurt = Payer(tmp_path / f"hurt{number}", monkeypatch, at=payer.at)
        shutil.copytree(payer.target, hurt.target)
        damage(hurt.target / key)
        hurt.run(extract, repair=True, approvals=Approvals(repair=True))
        after = hurt.release
        assert verify(after).problems == [], key
        if not key.startswith("catalog/"):
            assert after.manifest.parent == before.id, key
        else:  # the same bytes: the release stays valid, and so does its signature
            assert after.id == before.id
        assert list(after.all_units()) == list(before.all_units()), key
