"""Hooks of batch runs: a real server, a real command, and what happens where they do not work."""

import json
import logging
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from stat import S_IMODE

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from etl.bootstrap import recorded_run
from etl.bootstrap.settings import Settings
from etl.monitoring.notification import HookFailed, post, run_command
from etl.monitoring.textfile import write_textfile
from etl.pipeline.progress import Phase
from etl.pipeline.reporting.run_record import RunRecord, RunStart, new_record
from etl.publish.kept_objects import from_bytes
from etl.reports.summary import FindingTotals, MoneyProof, RejectionCause, RunTotals

BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)
START = RunStart("20260131T020000Z-0badcafe", BEGAN, "/data/in", "/data/tree")
TOTALS = RunTotals(
    tables={
        "claim": {"in": 900, "published": 880, "quarantined": 12, "superseded": 8},
        "member": {"in": 30, "published": 30, "quarantined": 0, "superseded": 0},
    },
    resources={"ExplanationOfBenefit": 888, "Patient": 30},
    findings=FindingTotals(12, 3, {"claim-without-line": {"claim": 12}}),
    causes=(RejectionCause("claim-without-line", 12, 12),),
    money=MoneyProof(174, net={"benefit": "1234.50", "paidbypatient": None}),
)
GOOD = new_record(
    START,
    BEGAN + timedelta(seconds=90),
    "published",
    (Phase("read", 2.5, 1000, "bytes"), Phase("partitions", 60.0, 3, "partitions")),
    release="20260131T020001Z-aaaaaaaaaaaa",
    report="reports/20260131T020001Z-aaaaaaaaaaaa/index.html",
    totals=TOTALS,
    changes={
        "patients": {"added": 2, "changed": 1, "retracted": 0},
        "resources": {"Patient": {"added": 2, "changed": 0, "retracted": 0}},
    },
)
BAD = replace(
    GOOD,
    verdict="failed",
    exit_code=5,
    release=None,
    report=None,
    totals=None,
    changes=None,
    error="storage did not answer",
    ended="2026-02-01T02:00:00.000+00:00",
)


@contextmanager
def server(status=200):
    """Give the URL of an HTTP server, and the requests that it got: method, path, JSON body."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got.append((self.command, self.path, json.loads(body) if body else None))
            self.send_response(status)
            self.end_headers()

        do_GET = do_POST = answer

        def log_request(self, *_):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", got
        finally:
            http.shutdown()
            thread.join()


def settings(**monitoring):
    return Settings(monitoring=monitoring)


# -- notifications -----------------------------------------------------------------------------


def told(path):
    """Return a command that adds its standard input to a file as a line."""
    program = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + '\\n')"
    return (sys.executable, "-c", program, str(path))


def test_a_command_gets_the_summary_and_the_record(tmp_path):
    recorded_run.run_ended(settings(notify_command=told(tmp_path / "got")), GOOD)
    body = json.loads((tmp_path / "got").read_text())
    assert body["title"] == "cpcds run published: /data/tree"
    assert "900 came in, 12 were rejected" in body["text"]
    assert "claim-without-line (12 claims)" in body["text"]
    assert "Report: /data/tree/reports/20260131T020001Z-aaaaaaaaaaaa/index.html" in body["text"]
    assert body["run"] == GOOD.to_json()


@pytest.mark.parametrize("verdict", ["stopped", "failed", "interrupted"])
def test_notifications_of_failures_alone(verdict, tmp_path):
    wanted = settings(notify_command=told(tmp_path / "got"), notify_on="failure")
    recorded_run.run_ended(wanted, GOOD)
    recorded_run.run_ended(wanted, replace(BAD, verdict=verdict))
    (body,) = map(json.loads, (tmp_path / "got").read_text().splitlines())
    assert body["run"]["verdict"] == verdict
    assert "Error: storage did not answer" in body["text"]


@pytest.mark.slow
def test_apprise_sends_title_and_text_to_a_service():
    pytest.importorskip("apprise")
    with server() as (url, got):
        services = (url.replace("http://", "json://"),)
        recorded_run.run_ended(settings(notify_services=services), BAD)
    ((_, _, body),) = got
    assert body["title"] == "cpcds run failed: /data/tree"
    assert "storage did not answer" in body["message"]


# -- hooks that do not work --------------------------------------------------------------------


def test_a_hook_that_does_not_work_is_one_line_without_its_secret(tmp_path, caplog):
    wanted = Settings(
        monitoring={
            "notify_command": (str(tmp_path / "no-such-program"),),
            "textfile": tmp_path / "no" / "folder.prom",
        },
        publish={"timestamp_url": "http://127.0.0.1:9/secret"},
        target=str(tmp_path),
    )
    with caplog.at_level(logging.WARNING):
        recorded_run.run_ended(wanted, GOOD)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in lines] == ["textfile", "notify_command"]
    assert all("\n" not in line and "secret" not in line for line in lines)


def test_an_error_of_a_call_names_the_host_and_no_secret():
    with (
        server(status=500) as (url, _),
        pytest.raises(HookFailed, match=r"127\.0\.0\.1 answered 500") as failed,
    ):
        post(f"{url}/secret", 1.0, b"{}", "application/json")
    assert "secret" not in str(failed.value)


def test_a_url_of_another_kind_is_refused():
    for url in ("file:///etc/passwd", "ftp://host/x", "nonsense"):
        with pytest.raises(HookFailed, match="not http"):
            post(url, 1.0, b"", "application/json")


def test_a_command_that_fails_says_its_exit_code():
    with pytest.raises(HookFailed, match="exit code 3"):
        run_command((sys.executable, "-c", "raise SystemExit(3)"), GOOD, 20.0)
    with pytest.raises(HookFailed, match=r"took longer than 0\.01 s"):
        run_command((sys.executable, "-c", "import signal; signal.pause()"), GOOD, 0.01)


# -- the textfile ------------------------------------------------------------------------------


def samples(path):
    return {
        (sample.name, *(each for name, each in sample.labels.items() if name != "target")): (
            sample.value
        )
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
        if sample.labels["target"] == "/data/tree"
    }


def test_the_textfile_has_what_a_run_came_to(tmp_path):
    path = tmp_path / "cpcds.prom"
    write_textfile(path, GOOD)
    found = samples(path)
    assert found["cpcds_run_last_success_timestamp_seconds",] == GOOD.ended_at.timestamp()
    assert found["cpcds_run_duration_seconds",] == 90
    assert found["cpcds_run_phase_seconds", "partitions"] == 60
    assert found["cpcds_run_rows", "quarantined", "claim"] == 12
    assert found["cpcds_run_rows", "published", "claim"] == 880
    assert found["cpcds_run_verdict", "published"] == 1
    assert found["cpcds_run_verdict", "failed"] == 0
    assert found["cpcds_run_money_adds_up",] == 1
    assert found["cpcds_run_changes", "added", "member"] == 2
    assert S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["cpcds.prom"]


def test_rows_of_a_run_that_published_nothing_are_accepted(tmp_path):
    write_textfile(tmp_path / "cpcds.prom", replace(GOOD, verdict="stopped", release=None))
    found = samples(tmp_path / "cpcds.prom")
    assert found["cpcds_run_rows", "accepted", "claim"] == 880
    assert ("cpcds_run_rows", "published", "claim") not in found


def test_a_failure_keeps_the_time_of_the_last_success(tmp_path):
    path = tmp_path / "cpcds.prom"
    write_textfile(path, GOOD)
    write_textfile(path, BAD)
    write_textfile(path, BAD)
    found = samples(path)
    assert found["cpcds_run_last_success_timestamp_seconds",] == GOOD.ended_at.timestamp()
    assert found["cpcds_run_last_end_timestamp_seconds",] == BAD.ended_at.timestamp()
    assert found["cpcds_run_exit_code",] == 5
    assert not [key for key in found if key[0] == "cpcds_run_rows"]


def test_a_first_run_that_fails_had_no_success(tmp_path):
    path = tmp_path / "cpcds.prom"
    path.write_text("nonsense {")
    write_textfile(path, BAD)
    assert ("cpcds_run_last_success_timestamp_seconds",) not in samples(path)


# -- records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [GOOD, BAD])
def test_a_record_is_read_as_it_was_written(record):
    assert from_bytes(record.to_bytes(), RunRecord, "runs/x.json", (1,)) == record
