"""Hooks of batch runs: a real server, a real command, and what happens where they do not work."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from etl.bootstrap import monitors
from etl.bootstrap.settings import Settings
from etl.monitoring.http_calls import HookFailed, call
from etl.monitoring.notification import run_command
from etl.monitoring.textfile import write_textfile
from etl.pipeline.phases import Phase
from etl.pipeline.run_record import RunRecord, RunStart, RunTotals

BEGAN = datetime(2026, 1, 31, 2, tzinfo=UTC)
START = RunStart("20260131T020000Z-0badcafe", BEGAN, "/data/in", "/data/tree")
TOTALS = RunTotals(
    tables={
        "claim": {"in": 900, "published": 880, "quarantined": 12, "superseded": 8},
        "member": {"in": 30, "published": 30, "quarantined": 0, "superseded": 0},
    },
    resources={"ExplanationOfBenefit": 888, "Patient": 30},
    rejecting=12,
    warnings=3,
    causes=(("claim-without-line", 12, 12),),
    sums=174,
    net={"benefit": "1234.50", "paidbypatient": None},
    findings={"claim-without-line": {"claim": 12}},
)
GOOD = RunRecord(
    START,
    BEGAN + timedelta(seconds=90),
    "published",
    0,
    (Phase("read", 2.5, 1000), Phase("partitions", 60.0, 3)),
    "20260131T020001Z-aaaaaaaaaaaa",
    "reports/20260131T020001Z-aaaaaaaaaaaa/index.html",
    TOTALS,
    {
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
    ended=BEGAN + timedelta(hours=24),
)


@contextmanager
def server(status: int = 200) -> Iterator[tuple[str, list[tuple[str, str, Any]]]]:
    """Give the URL of an HTTP server, and the requests that it got: method, path, JSON body."""
    got: list[tuple[str, str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got.append((self.command, self.path, json.loads(body) if body else None))
            self.send_response(status)
            self.end_headers()

        do_GET = do_POST = answer

        def log_request(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}", got
        finally:
            http.shutdown()
            thread.join()


def settings(**monitoring: Any) -> Settings:
    return Settings(monitoring=monitoring)


# -- pings -------------------------------------------------------------------------------------


def test_a_ping_tells_of_the_start_and_of_success_or_failure() -> None:
    with server() as (url, got):
        wanted = settings(ping_url=f"{url}/ping/secret")
        monitors.run_began(wanted, START)
        monitors.run_ended(wanted, GOOD)
        monitors.run_ended(wanted, replace(GOOD, verdict="unchanged"))
        monitors.run_ended(wanted, BAD)
    assert [path for _, path, _ in got] == [
        "/ping/secret/start", "/ping/secret", "/ping/secret", "/ping/secret/fail",
    ]  # fmt: skip


@pytest.mark.parametrize("verdict", ["stopped", "failed", "interrupted"])
def test_whatever_is_no_success_is_a_failure(verdict: Any) -> None:
    with server() as (url, got):
        monitors.run_ended(settings(ping_url=url), replace(BAD, verdict=verdict))
    assert [path for _, path, _ in got] == ["/fail"]


# -- notifications -----------------------------------------------------------------------------


def test_a_notification_is_the_summary_and_the_record() -> None:
    with server() as (url, got):
        monitors.run_ended(settings(notify_url=f"{url}/hook"), GOOD)
    ((method, path, body),) = got
    assert (method, path) == ("POST", "/hook")
    assert body["title"] == "cpcds run published: /data/tree"
    assert "900 came in, 12 were rejected" in body["text"]
    assert "claim-without-line (12 claims)" in body["text"]
    assert "Report: /data/tree/reports/20260131T020001Z-aaaaaaaaaaaa/index.html" in body["text"]
    assert body["run"] == GOOD.to_json()


def test_notifications_of_failures_alone() -> None:
    with server() as (url, got):
        wanted = settings(notify_url=url, notify_on="failure")
        monitors.run_ended(wanted, GOOD)
        monitors.run_ended(wanted, BAD)
    assert [body["run"]["verdict"] for _, _, body in got] == ["failed"]
    assert "Error: storage did not answer" in got[0][2]["text"]


def test_a_command_gets_the_message_on_its_standard_input(tmp_path: Path) -> None:
    program = "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())"
    command = (sys.executable, "-c", program, str(tmp_path / "got"))
    monitors.run_ended(settings(notify_command=command), GOOD)
    assert json.loads((tmp_path / "got").read_text())["run"] == GOOD.to_json()


def test_apprise_sends_title_and_text_to_a_service() -> None:
    pytest.importorskip("apprise")
    with server() as (url, got):
        services = (url.replace("http://", "json://"),)
        monitors.run_ended(settings(notify_services=services), BAD)
    ((_, _, body),) = got
    assert body["title"] == "cpcds run failed: /data/tree"
    assert "storage did not answer" in body["message"]


# -- hooks that do not work --------------------------------------------------------------------


def test_a_hook_that_does_not_work_is_one_line_without_its_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with server(status=500) as (url, _):
        wanted = settings(
            ping_url=f"{url}/secret",
            notify_url="http://127.0.0.1:9/secret",
            notify_command=(str(tmp_path / "no-such-program"),),
            textfile=tmp_path / "no" / "folder.prom",
        )
        with caplog.at_level(logging.WARNING):
            monitors.run_ended(wanted, GOOD)
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in lines] == [
        "textfile", "ping", "notify_url", "notify_command",
    ]  # fmt: skip
    assert all("\n" not in line and "secret" not in line for line in lines)
    assert "127.0.0.1 answered 500" in lines[1]


def test_a_url_of_another_kind_is_refused() -> None:
    for url in ("file:///etc/passwd", "ftp://host/x", "nonsense"):
        with pytest.raises(HookFailed, match="not http"):
            call(url, 1.0)


def test_a_command_that_fails_says_its_exit_code() -> None:
    with pytest.raises(HookFailed, match="exit code 3"):
        run_command((sys.executable, "-c", "raise SystemExit(3)"), GOOD, 20.0)
    with pytest.raises(HookFailed, match=r"took longer than 0\.01 s"):
        run_command((sys.executable, "-c", "import signal; signal.pause()"), GOOD, 0.01)


# -- the textfile ------------------------------------------------------------------------------


def samples(path: Path) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(each for name, each in sample.labels.items() if name != "target")): (
            sample.value
        )
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
        if sample.labels["target"] == "/data/tree"
    }


def test_the_textfile_has_what_a_run_came_to(tmp_path: Path) -> None:
    path = tmp_path / "cpcds.prom"
    write_textfile(path, GOOD)
    found = samples(path)
    assert found["cpcds_run_last_success_timestamp_seconds",] == GOOD.ended.timestamp()
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


def test_rows_of_a_run_that_published_nothing_are_accepted(tmp_path: Path) -> None:
    write_textfile(tmp_path / "cpcds.prom", replace(GOOD, verdict="stopped", release=None))
    found = samples(tmp_path / "cpcds.prom")
    assert found["cpcds_run_rows", "accepted", "claim"] == 880
    assert ("cpcds_run_rows", "published", "claim") not in found


def test_a_failure_keeps_the_time_of_the_last_success(tmp_path: Path) -> None:
    path = tmp_path / "cpcds.prom"
    write_textfile(path, GOOD)
    write_textfile(path, BAD)
    write_textfile(path, BAD)
    found = samples(path)
    assert found["cpcds_run_last_success_timestamp_seconds",] == GOOD.ended.timestamp()
    assert found["cpcds_run_last_end_timestamp_seconds",] == BAD.ended.timestamp()
    assert found["cpcds_run_exit_code",] == 5
    assert not [key for key in found if key[0] == "cpcds_run_rows"]


def test_a_first_run_that_fails_had_no_success(tmp_path: Path) -> None:
    path = tmp_path / "cpcds.prom"
    path.write_text("nonsense {")
    write_textfile(path, BAD)
    assert ("cpcds_run_last_success_timestamp_seconds",) not in samples(path)


# -- records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [GOOD, BAD])
def test_a_record_is_read_as_it_was_written(record: RunRecord) -> None:
    assert RunRecord.from_bytes(record.to_bytes(), "runs/x.json") == record


# -- lineage -----------------------------------------------------------------------------------


def test_lineage_has_start_and_end_of_one_run_with_columns_and_counts(tmp_path: Path) -> None:
    pytest.importorskip("openlineage.client")
    events = tmp_path / "events.ndjson"
    wanted = Settings(lineage={"to": str(events)})
    monitors.run_began(wanted, START)
    monitors.run_ended(wanted, GOOD)
    start, end = (json.loads(line) for line in events.read_text().splitlines())
    assert (start["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == end["run"]["runId"]
    assert {each["name"] for each in end["inputs"]} == {"claim", "member"}
    claim = next(each for each in end["inputs"] if each["name"] == "claim")
    assert claim["inputFacets"]["inputStatistics"]["rowCount"] == 900
    (finding,) = claim["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (finding["assertion"], finding["success"]) == ("claim-without-line", False)
    eob = next(each for each in end["outputs"] if each["name"] == "ExplanationOfBenefit")
    assert eob["outputFacets"]["outputStatistics"]["rowCount"] == 888
    assert eob["facets"]["version"]["datasetVersion"] == GOOD.release
    fields = eob["facets"]["columnLineage"]["fields"]
    created = fields["ExplanationOfBenefit.created"]["inputFields"]
    assert [(each["name"], each["field"]) for each in created] == [("claim", "adjudication_date")]
    assert created[0]["transformations"][0]["description"] == "CPCDS MapID 179"
    for path, field in fields.items():
        assert path.startswith("ExplanationOfBenefit.")
        assert field["inputFields"]


def test_lineage_goes_to_an_api_and_a_failure_has_its_sentence() -> None:
    pytest.importorskip("openlineage.client")
    with server() as (url, got):
        monitors.run_ended(Settings(lineage={"to": url}), BAD)
    ((method, path, event),) = got
    assert (method, path, event["eventType"]) == ("POST", "/api/v1/lineage", "FAIL")
    assert event["run"]["facets"]["errorMessage"]["message"] == "storage did not answer"
