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

from etl.cli import main
from etl.cli.main import Main
from etl.pipeline.reporting.run_record import read_records
from etl.publish.reader import open_current
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.e2e.commands import COMMAND, ROOT, cpcds
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
        pytest.param("checking and mapping …", signal.SIGINT, 130, marks=pytest.mark.long),
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
    again = begin(extract, tree)
    assert again.communicate(timeout=600)[0]
    assert again.returncode == 0
    assert open_current(LocalStore(tree)).release is not None


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


def test_an_interruption_while_a_release_is_made_the_present_one_claims_nothing(
    tmp_path, small, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("etl.pipeline.run.commit", interrupted)
    called = cpcds("run", small, "--to", tmp_path / "tree", "--workers", "1")
    assert called.code == 130
    assert "nothing was published" not in called.err
    assert f"`cpcds releases {tmp_path / 'tree'}` shows whether readers see it" in called.err


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
