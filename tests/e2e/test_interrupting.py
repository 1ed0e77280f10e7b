"""Ctrl-C and SIGTERM: a command ends at once, says so, and a run is finished by the next."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from etl.bootstrap import inspections
from etl.bootstrap.run_records import read_records
from etl.cli import main
from etl.cli.main import Main
from etl.errors import CommitUnknown, StoreError
from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.e2e.commands import COMMAND, ROOT, cpcds, done
from tests.waiting import until

ID_KEY = "5" * 64


def begin(extract, tree):
    """Begin a run with two processes, as a terminal does: in a group of its own."""
    settings = {
        "CPCDS_ID_KEY": ID_KEY,
        "CPCDS_RUN__PARTITION_ROWS": "1000",
        "CPCDS_REPORT__GX_ROWS": "0",
    }
    return subprocess.Popen(
        [*COMMAND, "run", str(extract), "--to", str(tree), "--workers", "2"],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def group(of):
    """Return the living processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its) == of and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="/proc tells who is in a group")
@pytest.mark.parametrize(
    ("stage", "number", "code"),
    [
        ("reading …", signal.SIGINT, 130),
        ("checking and mapping …", signal.SIGTERM, 143),
    ],
)
def test_a_run_that_is_interrupted_ends_at_once_without_a_word_too_many(
    stage, number, code, tmp_path
):
    extract, tree = tmp_path / "in", tmp_path / "tree"
    write_extract(extract, Spec(40, seed=1, since=date(2022, 1, 1)))
    run = begin(extract, tree)
    assert run.stderr is not None
    assert any(line.strip() == stage for line in run.stderr)
    os.killpg(run.pid, number)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (code, "")
    sentence = (
        "interrupted: nothing was published; run the same command again to continue from here"
    )
    assert [line for line in err.split("\n") if not line.endswith("…")][-2:] == [sentence, ""]
    assert err.count("interrupted") == 1
    assert "Traceback" not in err
    until(lambda: not group(run.pid))  # multiprocessing's own helper goes a moment later
    assert open_current(LocalStore(tree)).release is None
    (record,) = read_records(LocalStore(tree))
    assert (record.verdict, record.error) == ("interrupted", "interrupted")


@pytest.mark.slow
def test_an_interrupted_make_target_ends_by_its_signal_after_the_sentence(tmp_path):
    extract, tree = tmp_path / "in", tmp_path / "tree"
    write_extract(extract, Spec(40, seed=1, since=date(2022, 1, 1)))
    places = (f"EXTRACT={extract}", f"TARGET={tree}", f"LOG={tmp_path / 'log'}")
    command = ("make", "-s", "-o", ".venv/installed", "run", f"BIN={Path(sys.executable).parent}")
    make = subprocess.Popen(
        [*command, *places],
        cwd=ROOT,
        env=os.environ | {"CPCDS_ID_KEY": ID_KEY, "CPCDS_REPORT__GX_ROWS": "0"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert make.stderr is not None
    assert any(line.strip() == "checking and mapping …" for line in make.stderr)
    make.terminate()  # what a scheduler does: make alone gets the signal, and hands it on
    _, err = make.communicate(timeout=600)
    assert make.returncode == -signal.SIGTERM
    assert "interrupted: nothing was published; " in err
    assert "Traceback" not in err
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert "stopped, exit 143: interrupted: nothing was published; " in last
    assert open_current(LocalStore(tree)).release is None


def interrupted(*_, **__):
    raise KeyboardInterrupt


def full_disk(*_, **__):
    raise StoreError("no space is left on the device")


def lost_answer(*_, **__):
    raise CommitUnknown("no answer to the writing of current.json")


@pytest.mark.parametrize(("fault", "code"), [(interrupted, 130), (lost_answer, 5)])
def test_whoever_ends_during_the_commit_claims_nothing(tmp_path, small, monkeypatch, fault, code):
    monkeypatch.setattr("etl.publish.writer.commit", fault)
    called = cpcds("run", small, "--to", tmp_path / "tree", "--workers", "1")
    assert called.code == code
    assert "nothing was published" not in called.err
    assert f"`cpcds releases {tmp_path / 'tree'}` shows whether readers see it" in called.err


def ended(monkeypatch, name, fault, *arguments):
    """Call a command that ends in a function that it calls."""
    with monkeypatch.context() as patch:
        patch.setattr(name, fault)
        return cpcds(*arguments)


@pytest.mark.parametrize(
    "name",
    [
        "etl.bootstrap.tree_pages.refresh_nights_page",
        "etl.publish.lease.Lease.release",
        "etl.bootstrap.recorded_run._notify",
    ],
)
def test_an_interruption_after_the_commit_names_what_is_published(
    tmp_path, small, monkeypatch, name
):
    tree = tmp_path / "tree"
    command = ("run", small, "--to", tree, "--workers", "1")
    called = ended(monkeypatch, name, interrupted, *command)
    release = open_current(LocalStore(tree)).release
    assert called.code == 130
    assert f"interrupted: release {release.id} is published, and readers see it; " in called.err
    assert [record.release for record in read_records(LocalStore(tree))] == [release.id]
    # The same command completes what follows.
    assert "nothing to do" in done(cpcds(*command)).out
    assert (tree / "reports/index.html").exists()


def test_a_failure_after_the_commit_names_what_is_published(tmp_path, small, monkeypatch):
    tree, pages = tmp_path / "tree", "etl.bootstrap.tree_pages.write_pages"
    command = ("run", small, "--to", tree, "--workers", "1")
    called = ended(monkeypatch, pages, full_disk, *command, "--log", tmp_path / "log")
    release = open_current(LocalStore(tree)).release
    assert called.code == 5
    says = f"is left on the device; release {release.id} is published, and readers see it; "
    assert says in called.sentence
    assert says in (tmp_path / "log").read_text().splitlines()[-1]
    (record,) = read_records(LocalStore(tree))
    assert (record.verdict, record.release) == ("failed", release.id)
    # The next attempt has only that to do, and may end as well.
    again = ended(monkeypatch, pages, interrupted, *command)
    assert f"interrupted: release {release.id} is published" in again.err


def test_a_failed_run_that_is_interrupted_later_has_published_nothing(tmp_path, small, monkeypatch):
    monkeypatch.setattr("etl.bootstrap.recorded_run.run_extract", full_disk)
    name = "etl.bootstrap.recorded_run._notify"
    called = ended(monkeypatch, name, interrupted, "run", small, "--to", tmp_path / "tree")
    assert called.code == 130
    assert "interrupted: nothing was published; " in called.err


def test_a_rollback_that_ends_names_what_is_published(tmp_path, small, monkeypatch):
    tree = tmp_path / "tree"
    for payer in ("One", "Two"):
        done(cpcds("run", small, "--to", tree, "--workers", "1", CPCDS_PAYER__NAME=payer))
    first = open_current(LocalStore(tree)).release.manifest.parent
    room, command = "etl.bootstrap.releases", ("rollback", tree, first)
    called = ended(monkeypatch, f"{room}.require_intact", interrupted, *command)
    assert "interrupted: nothing was rolled back; run the same command again\n" in called.err
    called = ended(monkeypatch, f"{room}.rollback", interrupted, *command)
    assert f"`cpcds releases {tree}` shows whether readers see it; " in called.err
    # The first of these ends after the commit, and the others when the command completes it.
    for name, fault, code in (
        ("tree_pages.write_pages", interrupted, 130),
        ("tree_pages.write_pages", full_disk, 5),
        ("tree_pages.refresh_nights_page", interrupted, 130),
        ("releases.keep_record", interrupted, 130),
    ):
        called = ended(monkeypatch, f"etl.bootstrap.{name}", fault, *command)
        release = open_current(LocalStore(tree)).release
        assert release.manifest.rolled_back_to == first
        assert called.code == code
        assert f"release {release.id} is published, and readers see it; " in called.err
        assert read_records(LocalStore(tree))[0].release == release.id
    assert release.id in done(cpcds(*command)).out


@pytest.mark.parametrize(
    ("command", "option", "file"),
    [
        ("convert", "--out", "Patient.ndjson"),
        ("validate", "--report", "report/index.html"),
    ],
)
def test_a_late_interruption_does_not_deny_what_was_written(
    tmp_path, small, monkeypatch, command, option, file
):
    use_case = getattr(inspections, command)

    def end_late(*arguments):
        use_case(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(inspections, command, end_late)
    called = cpcds(command, small, option, tmp_path / "out", "--workers", "1")
    assert called.code == 130
    assert (tmp_path / "out" / file).exists()
    assert "may be missing; run the same command again to finish" in called.err


def test_ctrl_c_at_a_question_is_an_interruption_and_no_is_an_answer(monkeypatch):
    def ctrl_c(*_):
        raise KeyboardInterrupt

    @click.command("ask")
    @click.option("--pressed", is_flag=True)
    def ask(pressed):
        if pressed:
            monkeypatch.setattr("click.termui.visible_prompt_func", ctrl_c)
        click.confirm("sure?", abort=True)

    monkeypatch.setattr(Main, "get_command", lambda *_: ask)
    assert CliRunner().invoke(main, ["ask"], input="n\n").exit_code == 1
    called = CliRunner().invoke(main, ["ask", "--pressed"])
    assert called.exit_code == 130
    assert "interrupted: " in called.stderr
