"""A release is made again of its extract, elsewhere: the same bit for bit, or located."""

from datetime import date

import pytest

from etl.bootstrap.releases import rebuild_release, roll_back
from etl.bootstrap.settings import target_store
from etl.errors import UsageError
from etl.pipeline.progress import ignore
from etl.publish.block import PatientResources
from etl.publish.history import find_release
from etl.publish.partition_writer import write_partition
from etl.publish.verify import verify
from etl.synth.extract import write_extract
from etl.synth.spec import Spec
from tests.integration.nights import Payer

SINCE = date(2024, 10, 1)
FEMALE, MALE = b'"gender":"female"', b'"gender":"male"'


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def extracts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extracts")
    specs = [
        Spec(4, since=SINCE),
        Spec(4, day=1, change_rate=0.5, since=SINCE),
        Spec(4, kind="delta", day=2, change_rate=0.5, since=SINCE),
    ]
    for at, spec in enumerate(specs):
        write_extract(folder / str(at), spec)
    return [folder / str(at) for at in range(len(specs))]


@pytest.fixture(scope="module")
def payer(tmp_path_factory, patch, extracts):
    """Two nights and a delta."""
    made = Payer(tmp_path_factory.mktemp("payer") / "tree", patch, {"publish": {"deltas": True}})
    for extract in extracts:
        made.run(extract)
    return made


def releases(payer):
    return sorted(path.name for path in (payer.target / "releases").iterdir())


def rebuild(payer, release, extract):
    chosen = find_release(target_store(payer.settings), release)
    return rebuild_release(payer.settings, chosen, extract, ignore)


@pytest.mark.slow
@pytest.mark.parametrize("night", range(3))
def test_a_release_is_made_again_bit_for_bit(payer, extracts, night):
    release, before = releases(payer)[night], payer.files()
    found = rebuild(payer, release, extracts[night])
    assert (found.remade, found.problems, found.reasons) == (release, (), ())
    assert found.resources > 0
    assert payer.files() == before


def test_another_extract_is_refused(payer, extracts):
    with pytest.raises(UsageError, match=r"is not the extract that release .* was made from"):
        rebuild(payer, releases(payer)[1], extracts[0])


def test_what_it_was_made_with_is_named(payer, extracts, monkeypatch):
    changed = {**payer.changed, "claims": {"superseded": "leave-out"}}
    monkeypatch.setattr(payer, "changed", changed)
    found = rebuild(payer, releases(payer)[0], extracts[0])
    (reason,) = found.reasons
    assert "crosswalks, layouts, or configuration differ from those of the run" in reason
    assert any(problem.what.startswith("mapping differs") for problem in found.problems)


@pytest.mark.slow
def test_a_forged_resource_that_all_hashes_agree_with_is_located(tmp_path, extracts, monkeypatch):
    forged = []

    def forge(store, previous, resources, *given, **named):
        def all_of_them():
            for patient in resources:
                mine = list(patient.resources)
                for at, one in enumerate(mine):
                    body = bytes(one.body)
                    if not forged and FEMALE in body:
                        forged.append(f"{one.type}/{one.id}")
                        mine[at] = one._replace(body=body.replace(FEMALE, MALE))
                yield PatientResources(patient.patient_id, mine)

        return write_partition(store, previous, all_of_them(), *given, **named)

    payer = Payer(tmp_path / "tree", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("etl.pipeline.publish.write_partition", forge)
        payer.run(extracts[0])
    assert verify(payer.release).ok
    found = rebuild(payer, payer.release.id, extracts[0])
    assert forged
    assert [one.what for one in found.problems if one.kind == "block"] == [
        f"{forged[0]} differs from the extract"
    ]
    assert found.remade != payer.release.id


@pytest.mark.slow
def test_what_cannot_be_made_again_says_why(payer, extracts, tmp_path, monkeypatch):
    tree = Payer(tmp_path / "tree", monkeypatch)
    tree.run(extracts[0])
    tree.run(extracts[1])
    first, second = releases(tree)
    rollback, _ = roll_back(tree.settings, first, "a test")
    with pytest.raises(UsageError, match="is a rollback to"):
        rebuild(tree, rollback.release, extracts[0])
    (tree.target / "releases" / first / "manifest.json").unlink()
    with pytest.raises(UsageError, match="was pruned"):
        rebuild(tree, second, extracts[1])
