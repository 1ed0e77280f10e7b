"""What needs a decision before a run publishes on top of what readers see."""

import json
import shutil

import pytest

from tests.e2e.commands import contents, cpcds, current_manifest, current_release, done

ID_KEY = "7" * 64
OTHER_KEY = "8" * 64


def run(extract, target, *options, **environment):
    keyed = {"CPCDS_ID_KEY": ID_KEY, **environment}
    return cpcds("run", extract, "--to", target, "--workers", "1", *options, **keyed)


@pytest.fixture(scope="module")
def published(small, tmp_path_factory):
    """Give a target that was published to once; tests leave it as it is."""
    target = tmp_path_factory.mktemp("published")
    done(run(small, target))
    before = contents(target)
    yield target
    assert contents(target) == before


@pytest.mark.slow
def test_another_id_key_or_payer_id_stops_a_run_before_it_does_anything(small, published):
    changed = {"CPCDS_ID_KEY": OTHER_KEY, "CPCDS_PAYER__ID": "other"}
    called = run(small, published, **changed)
    assert called.code == 3
    assert called.sentence.startswith("payer.id, CPCDS_ID_KEY: ")
    assert "every resource would be deleted and added again with a new ID" in called.sentence
    assert "--rekey" in called.sentence
    assert OTHER_KEY not in called.err
    assert "checking and mapping" not in called.err


@pytest.mark.slow
def test_a_dry_run_with_another_key_tells_what_a_run_would_do_and_ends_as_it_would(
    small, published
):
    called = run(small, published, "--dry-run", "--json", CPCDS_ID_KEY=OTHER_KEY)
    assert called.code == 3
    body = json.loads(called.out)
    assert "--rekey" in body["refusal"]
    assert body["patients"]["added"] == body["patients"]["retracted"] > 0
    allowed = done(run(small, published, "--dry-run", "--rekey", CPCDS_ID_KEY=OTHER_KEY))
    assert "retracted" in allowed.out


@pytest.mark.slow
def test_rekey_publishes_under_new_ids_and_the_new_key_is_then_the_trees(small, tmp_path):
    target = tmp_path / "target"
    done(run(small, target))
    before = current_manifest(target)["ids"]
    done(run(small, target, "--rekey", CPCDS_ID_KEY=OTHER_KEY))
    after = current_manifest(target)["ids"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert before["key"] != after["key"]
    assert run(small, target).code == 3
    assert "nothing to do" in done(run(small, target, CPCDS_ID_KEY=OTHER_KEY)).out


def test_resuming_where_nothing_was_published_writes_nothing(tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    tried = cpcds("resume", target)
    assert tried.code == 2
    assert tried.sentence == f"{target}: nothing has been published yet"
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("command", ["history", "prune", "releases", "resume", "verify"])
def test_a_mistyped_target_is_an_error_that_names_the_nearest_folder(command, tmp_path):
    (tmp_path / "published").mkdir()
    tried = cpcds(command, tmp_path / "publishd")
    assert tried.code == 2
    assert tried.sentence == (
        f"the folder {tmp_path}/publishd does not exist; did you mean 'published'?"
    )
    assert not (tmp_path / "publishd").exists()


@pytest.mark.slow
def test_a_rollback_holds_until_it_is_resumed_from(small, tmp_path):
    target = tmp_path / "target"
    done(run(small, target))
    first = current_release(target)
    done(run(small, target, CPCDS_PAYER__NAME="Another Name"))
    why = "amounts of July are doubled"
    back = done(cpcds("rollback", target, first, "--reason", why.replace(" of ", "\n of ")))
    assert f"`cpcds resume {target}`" in back.out
    held = contents(target)

    stopped = run(small, target, CPCDS_PAYER__NAME="Another Name")
    assert stopped.code == 5
    assert first in stopped.sentence
    assert why in stopped.sentence
    assert "--after-rollback" in stopped.sentence
    planned = run(small, target, "--dry-run", "--json", CPCDS_PAYER__NAME="Another Name")
    assert planned.code == 5
    assert json.loads(planned.out)["refusal"] == stopped.sentence
    assert contents(target) == held
    newest, *_ = json.loads(done(cpcds("releases", target, "--json")).out)
    told = {name: newest[name] for name in ("kind", "rollback_to", "reason", "holds")}
    assert told == {"kind": "rollback", "rollback_to": first, "reason": why, "holds": True}

    assert "can publish after" in done(cpcds("resume", target)).out
    assert "nothing to do" in done(cpcds("resume", target)).out

    assert why in done(cpcds("releases", target)).out
    done(run(small, target, CPCDS_PAYER__NAME="Another Name"))


@pytest.mark.slow
def test_one_run_may_be_told_to_publish_over_a_rollback(small, published, tmp_path):
    target = shutil.copytree(published, tmp_path / "target")
    first = current_release(target)
    done(run(small, target, CPCDS_PAYER__NAME="Another Name"))
    done(cpcds("rollback", target, first))
    done(run(small, target, "--after-rollback", CPCDS_PAYER__NAME="Another Name"))
    assert current_manifest(target)["kind"] == "full"
