"""What a run tells its operators: on the terminal, in the log, as JSON, in its record."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from socket import gethostname
from stat import S_IMODE

import pytest

from etl.bootstrap import recorded_run, use_cases
from etl.bootstrap.settings import Settings
from etl.bootstrap.use_cases import run_extract
from etl.errors import StoreError
from etl.pipeline.progress import StageBegan, StageExtended, StepCounter
from etl.storage.local import LocalStore
from tests.e2e.commands import ANY_CHANGE, COMMAND, NO_SUITES, SAMPLES, cpcds, done
from tests.given.tables import read_tables

FAULTY = SAMPLES / "faulty"
LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) (\d{8}T\d{6}Z-[0-9a-f]{8}) (.+)"
)
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)
PHASES = ["open", "hash", "read", "directory", "partitions", "publish", "bulk", "report", "commit"]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A target of three runs: one that published, one that had nothing to do, one that stopped."""
    folder = tmp_path_factory.mktemp("operators")
    seconds = count()
    with pytest.MonkeyPatch.context() as patch:  # runs are named and ordered by the second
        patch.setattr(recorded_run, "now", lambda: BEGAN + timedelta(seconds=next(seconds)))
        for name, extract, environment in (
            ("first", FAULTY, {}),
            ("again", FAULTY, {}),
            (
                "stopped",
                SAMPLES,
                {"CPCDS_LIMITS__RETRACTED_MEMBERS": "0", "CPCDS_PAYER__NAME": "x"},
            ),
        ):
            arguments = ("run", extract, "--to", folder / "tree", "--log", folder / f"{name}.log")
            called = cpcds(*arguments, "--log-format", "json", "--json", **environment)
            assert called.code == (4 if name == "stopped" else 0), called.err
            (folder / f"{name}.json").write_text(called.out)
    return folder


def said(target, name):
    return json.loads((target / f"{name}.json").read_text())


def log_of(target, name):
    return [json.loads(line) for line in (target / f"{name}.log").read_text().splitlines()]


def records(target):
    found = [json.loads(path.read_bytes()) for path in sorted((target / "tree/runs").iterdir())]
    return {each["run"]: each for each in found}


# -- the end of a run --------------------------------------------------------------------------


def test_a_run_ends_with_its_phases_what_was_rejected_the_money_and_a_verdict(faulty_run):
    out = (faulty_run / "out").read_text()
    assert len(out.splitlines()) < 46
    assert not CONTROL.search(out)
    phases = ", ".join(rf"{phase} [\d.]+" for phase in PHASES)
    assert re.search(rf"^seconds: {phases}$", out, re.MULTILINE)
    assert re.search(r"^rejected: \d+ of [\d,]+ claims, [\d.]+ %; [\d,]+ rows of all", out, re.M)
    # What the plan paid would tell the sum of a few claims.
    assert re.search(r"^money: all \d+ sums add up to the cent$", out, re.MULTILINE)
    assert re.search(r"^verdict: published, after [\d.]+ s \(run \S+\)$", out, re.MULTILINE)
    assert out.splitlines()[-1].startswith("report: ")


def test_json_has_the_same(target):
    first = said(target, "first")
    assert [each["phase"] for each in first["phases"]] == PHASES
    assert first["verdict"] == "published"
    assert first["money"]["adds_up"] is True
    assert first["money"]["compared"] > 100
    assert datetime.fromisoformat(first["began"]) < datetime.fromisoformat(first["ended"])
    again, stopped = said(target, "again"), said(target, "stopped")
    assert (again["verdict"], again["published"]) == ("unchanged", False)
    assert (stopped["verdict"], stopped["stopped"]) == ("stopped", True)


# -- the log -----------------------------------------------------------------------------------


def test_each_line_of_a_log_has_time_zone_and_run(faulty_run):
    log = (faulty_run / "night.log").read_text()
    lines = [LINE.fullmatch(line) for line in log.splitlines()]
    assert len(lines) > 2 * len(PHASES)
    assert len({line and line.group(2) for line in lines}) == 1
    texts = [line.group(3) for line in lines if line]
    assert [text.removesuffix(": began") for text in texts if text.endswith(": began")] == PHASES
    assert any(re.fullmatch(r"partitions: [\d,]+ rows, [\d.]+ s", text) for text in texts)
    (verdict,) = (text for text in texts if text.startswith("verdict: "))
    assert re.search(r"\d+ of [\d,]+ claims and \d+ rows rejected; money: all \d+ sums", verdict)


def test_a_log_of_json_has_members_for_what_is_counted(target):
    lines = log_of(target, "first")
    assert {line["run"] for line in lines} == {said(target, "first")["run"]}
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    ended = {line["phase"]: line for line in lines if "unit" in line}
    assert list(ended) == PHASES
    assert ended["hash"]["count"] == sum(path.stat().st_size for path in FAULTY.glob("*.csv"))
    (verdict,) = (line for line in lines if "verdict" in line)
    claims = said(target, "first")["tables"]["claim"]
    assert (verdict["claims"], verdict["rejected_claims"]) == (claims["in"], claims["quarantined"])
    assert log_of(target, "stopped")[-1]["level"] == "error"


@pytest.mark.slow
def test_hooks_and_records_that_fail_do_not_fail_a_run_and_are_in_its_log(tmp_path, monkeypatch):
    real = LocalStore.put

    def refused(store, key, data):
        if key.startswith("runs/"):
            raise StoreError("no space is left")
        return real(store, key, data)

    monkeypatch.setattr(LocalStore, "put", refused)
    environment = {
        "CPCDS_PUBLISH__TIMESTAMP_URL": "http://127.0.0.1:9/secret",
        "CPCDS_MONITORING__TEXTFILE": str(tmp_path / "no" / "cpcds.prom"),
        "CPCDS_MONITORING__NOTIFY_COMMAND": json.dumps([str(tmp_path / "nothing")]),
    }
    log = tmp_path / "night.log"
    done(cpcds("run", FAULTY, "--to", tmp_path / "tree", "--log", log, **environment))
    lines = log.read_text().splitlines()
    assert [
        line for line in lines if "no space is left: the record of this run was not kept" in line
    ]
    assert "published release" in log.read_text()
    failed = [line for line in lines if "the run is not affected" in line]
    hooks = [line.split(" WARNING ")[1].split()[1].rstrip(":") for line in failed]
    assert sorted(hooks) == ["notify_command", "textfile", "timestamp_url"]
    assert "secret" not in log.read_text()


# -- the record --------------------------------------------------------------------------------


def test_a_target_keeps_a_record_of_each_run_however_it_ended(target):
    kept = records(target)
    for name in ("first", "again", "stopped"):
        told = said(target, name)
        record = kept[told["run"]]
        assert record["format"] == 1
        assert record["verdict"] == told["verdict"]
        assert record["phases"] == told["phases"]
    (stopped,) = (each for each in kept.values() if each["verdict"] == "stopped")
    assert (stopped["exit_code"], stopped["release"]) == (4, None)
    assert (target / "tree" / stopped["report"]).is_file()
    assert stopped["totals"]["broken_limits"]
    assert stopped["error"]


def test_a_run_that_fails_before_anything_was_published_leaves_nothing(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert cpcds("run", empty, "--to", tmp_path / "tree").code == 2
    assert not (tmp_path / "tree").exists()


# -- progress ----------------------------------------------------------------------------------


def read_to_its_end(terminal):
    """Return what is written to the other end of a terminal until that is closed."""
    pieces = []
    with suppress(OSError):  # the other end was closed
        while piece := os.read(terminal, 65536):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()


ON_A_TERMINAL = {**NO_SUITES, "TERM": "xterm-256color", "COLUMNS": "120"}


def on_a_terminal(*arguments):
    """Return all that a command writes to a terminal of 120 columns as its standard error."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env={**os.environ, **ON_A_TERMINAL},
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as command:
        os.close(theirs)
        shown = read_to_its_end(ours)
    assert command.returncode == 0
    return shown


def without_controls(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


@pytest.mark.slow
def test_phases_that_are_over_stay_on_a_terminal_and_lines_go_above_them(tmp_path):
    shown = on_a_terminal("-v", "run", FAULTY, "--to", tmp_path / "tree")
    assert "\x1b[" in shown
    lines = without_controls(shown).splitlines()
    last = [line for line in lines if "━" in line][-len(PHASES) :]
    assert [line.split("━")[0].strip() for line in last] == [
        "opening", "hashing", "reading", "checking rows that belong to no member",
        "checking and mapping", "publishing", "writing bulk files", "writing the report",
        "committing",
    ]  # fmt: skip
    assert all(re.search(r"\d:\d\d:\d\d", line) for line in last)
    logged = [line for line in lines if " INFO etl.run: " in line]
    assert logged
    assert all(re.match(r"\d{4}-\d\d-\d\dT", line) and "━" not in line for line in logged)


@pytest.mark.slow
def test_each_phase_reports_as_many_steps_as_it_was_said_to_have(tmp_path):
    counter, planned, done_steps = StepCounter(), dict[str, int](), dict[str, int]()
    stages: list[str] = []

    def count(event):
        steps = counter.steps(event)
        match event:
            case StageBegan(stage=stage, total=total):
                stages.append(stage)
                planned[stage] = total or 0
            case StageExtended(count=more):
                planned[stages[-1]] += more
            case _:
                pass
        done_steps[stages[-1]] = done_steps.get(stages[-1], 0) + steps

    settings = Settings(target=str(tmp_path / "tree"), report={"gx_rows": 0}, run={"workers": 1})
    run_extract(settings, FAULTY, count)
    assert stages == PHASES
    exact = ("partitions", "publish", "bulk", "report")
    assert {stage: done_steps[stage] for stage in exact} == {each: planned[each] for each in exact}
    assert min(done_steps.values()) > 0
    assert 0.9 < done_steps["hash"] / planned["hash"] <= 1
    assert abs(done_steps["commit"] - planned["commit"]) < 10


@pytest.mark.slow
@pytest.mark.parametrize("arguments", read_tables(__file__)["long_commands"])
def test_other_commands_that_take_long_show_progress(arguments, target, tmp_path):
    (tmp_path / "t").symlink_to(target / "tree")
    called = (each.format(tmp_path) for each in arguments)
    shown = without_controls(on_a_terminal(*called))
    of = re.search(r"━+ 0 % of ([\d,]+) (members|folders)", shown)
    assert of or arguments[0] == "conform"
    assert re.search(
        r"(writing|verifying|checking|looking through) +━+ [\d,]+ (members|resources|folders)",
        shown,
    )


@pytest.mark.slow
def test_what_is_no_terminal_gets_no_control_character_and_no_bar_loads_rich(tmp_path):
    program = (
        "import sys\n"
        "from etl.cli import main\n"
        "try:\n"
        f"    main(['-v', 'run', {str(FAULTY)!r}, '--to', {str(tmp_path / 'tree')!r}, '--json'])\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        "assert 'rich' not in sys.modules and 'structlog' not in sys.modules\n"
    )
    command, environment = [sys.executable, "-c", program], {**os.environ, **NO_SUITES}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert " INFO etl.run: published release " in ran.stderr
    assert not CONTROL.search(ran.stderr)


# -- releases and locks ------------------------------------------------------------------------


def test_releases_tell_what_the_run_rejected_the_money_and_how_long_it_took(target):
    (release,) = json.loads(done(cpcds("releases", target / "tree", "--json")).out)
    first = said(target, "first")
    assert release["run"] == first["run"]
    assert release["verdict"] == "published"
    assert release["seconds"] == first["seconds"]
    assert release["money"] == first["money"]
    claims = first["tables"]["claim"]
    assert release["rejected"]["of"] == claims["in"]
    assert release["rejected"]["claims"] == claims["quarantined"]
    text = done(cpcds("releases", target / "tree")).out
    assert f"{claims['quarantined']} of {claims['in']} claims and " in text
    assert "sums add up to the cent" in text


def test_releases_without_records_of_their_runs_are_listed_all_the_same(faulty_run, tmp_path):
    tree = shutil.copytree(faulty_run / "tree", tmp_path / "tree")
    shutil.rmtree(tree / "runs")
    assert "no runs are recorded" in done(cpcds("history", tree)).out
    (release,) = json.loads(done(cpcds("releases", tree, "--json")).out)
    assert release["verdict"] is release["rejected"] is None
    assert "; current\n" in done(cpcds("releases", tree)).out


def test_a_run_or_prune_that_waits_for_another_run_names_its_process(tmp_path, monkeypatch):
    tree, seen = tmp_path / "tree", list[str]()

    def look(*_, **__):
        for other in (("prune", tree, "--keep", "1"), ("run", FAULTY, "--to", tree)):
            seen.append(cpcds(*other).sentence)
        raise StoreError("that is enough")

    monkeypatch.setattr(use_cases, "run", look)
    assert cpcds("run", FAULTY, "--to", tree).code == 5
    held = re.compile(rf"process {os.getpid()} on {re.escape(gethostname())} since 20\d\d-")
    assert len(seen) == 2
    assert all(held.search(text) for text in seen), seen
    assert "another run is using it (process" in seen[1]
    assert "wait for that run" in seen[1]


# -- history -----------------------------------------------------------------------------------


def test_history_lists_the_runs_of_a_target_newest_first(target, tmp_path):
    tree, page = target / "tree", tmp_path / "runs.html"
    listed = json.loads(done(cpcds("history", tree, "--json")).out)
    assert [each["run"] for each in listed] == sorted(records(target), reverse=True)
    assert {each["run"]: each for each in listed} == records(target)
    text = done(cpcds("history", tree, "--html", page)).out
    for name in ("first", "again", "stopped"):
        told = said(target, name)
        assert re.search(rf"{told['verdict']} +[\d.]+ s  {told['run']}", text)
        assert f" {told['verdict']}</td>" in page.read_text()
    assert "slowest phases: " in text
    assert said(target, "first")["release"] in page.read_text()
    (newest,) = json.loads(done(cpcds("history", tree, "--last", "1", "--json")).out)
    assert newest["run"] == listed[0]["run"]


@pytest.mark.slow
def test_history_lists_rollbacks_with_their_reason_and_those_that_failed(faulty_run, tmp_path):
    tree, page = tmp_path / "tree", tmp_path / "runs.html"
    shutil.copytree(faulty_run / "tree", tree)
    done(cpcds("run", SAMPLES, "--to", tree, **ANY_CHANGE))
    newest, oldest = json.loads(done(cpcds("releases", tree, "--json")).out)
    assert cpcds("rollback", tree, newest["release"]).code == 2
    done(cpcds("rollback", tree, oldest["release"], "--reason", "doubled amounts"))
    listed = json.loads(done(cpcds("history", tree, "--json")).out)
    assert [each["verdict"] for each in listed] == [
        "rolled-back", "failed", "published", "published"
    ]  # fmt: skip
    (now, *_) = json.loads(done(cpcds("releases", tree, "--json")).out)
    assert (listed[0]["release"], listed[0]["changes"]) == (
        now["release"],
        now["counts"]["changes"],
    )
    assert (listed[0]["rollback_to"], listed[0]["reason"]) == (oldest["release"], "doubled amounts")
    text = done(cpcds("history", tree, "--html", page)).out
    assert f"back to release {oldest['release']}: doubled amounts" in text
    assert "(doubled amounts)" in page.read_text()
    assert S_IMODE(page.stat().st_mode) == 0o600
