"""Apache Spark for tests, and an extract in which everything that can be shared is."""

import csv
import os
import shutil
import threading
from contextlib import contextmanager
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from unittest.mock import patch

import pytest

from etl.local.executor import LocalExecutor
from etl.local.workers import Workers
from etl.publish.target import Target
from etl.spark.executor import SparkExecutor
from etl.spark.session import _SETTINGS, spark_session
from etl.storage.port import StoreOptions
from etl.synth import Spec, write_extract

CLUSTER = "local-cluster[2,1,1024]"
"""Two executors of one core, as processes of their own."""
QUIET = (
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)
"""pyspark speaks of pandas, and leaves its sockets to be collected."""
MARKS = (pytest.mark.slow, *QUIET)


def spark_or_skip(*modules):
    """Skip the test, aloud, where Spark cannot run."""
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    for module in ("pyspark", *modules):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: make install EXTRAS=spark")


def end_java():
    """End the Java process of earlier sessions: executors have its environment."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is not None:
        gateway.shutdown()
        gateway.proc.stdin.close()
        SparkContext._gateway = SparkContext._jvm = None


@contextmanager
def cluster(master=CLUSTER, settings=MappingProxyType({}), path=None):
    """Give a session of Spark.

    Args:
        master: where it runs.
        settings: of Spark, beside those of every session.
        path: where executors find modules; this checkout where not given.
    """
    spark_or_skip()
    end_java()
    before = os.environ.get("PYTHONPATH")
    here = os.pathsep.join([str(Path.cwd()), *([before] if before else [])])
    os.environ["PYTHONPATH"] = here if path is None else path
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    try:
        with patch.dict(_SETTINGS, settings), spark_session(master) as session:
            yield session
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def on_spark(session, load, staging=None):
    """Return what opens an executor; after a run that succeeds nothing is in its staging.

    Args:
        session: of Spark, or of frames.
        load: loads definitions.
        staging: the target that staging is beside; a folder of its own where not given.
    """

    @contextmanager
    def opened():
        with TemporaryDirectory() as folder, Workers(1, load) as workers:
            target = staging or Target(folder, StoreOptions())
            try:
                yield SparkExecutor(session, LocalExecutor(workers), target)
            finally:  # also of a run that was interrupted
                tasks = [one.name for one in threading.enumerate() if one.name.startswith("spark")]
                assert tasks == []
            assert not list(target.store().list("staging/units"))

    return opened


def entangled(folder, day=0):
    """Write an extract with every fault across members, and rows that name nobody."""
    spec = Spec(10, since=date(2024, 1, 1), day=day, change_rate=0.3, fault_rate=0.04, seed=7)
    write_extract(folder, spec)
    (folder / "manifest.json").unlink(missing_ok=True)
    (folder / "faults.csv").unlink(missing_ok=True)
    claims, coverages = _rows(folder / "claim.csv"), _rows(folder / "coverage.csv")
    members = sorted({row["member_id"] for row in claims})
    first, last = members[0], members[-1]
    theirs = [[row for row in claims if row["member_id"] == one] for one in members[:6]]
    own, others = theirs[0], theirs[1]
    _append(folder / "claim.csv", {**own[0], "member_id": last})
    _append(folder / "coverage.csv", {**coverages[0], "member_id": last})
    changed = {
        own[1]["claim_id"]: {"adjusted_from_claim_id": others[0]["claim_id"]},
        own[2]["claim_id"]: {"adjusted_from_claim_id": "no-such-claim"},
        others[1]["claim_id"]: {"coverage_id": "no-such-coverage"},
        theirs[2][0]["claim_id"]: {"coverage_id": theirs[3][0]["coverage_id"]},
        theirs[4][0]["claim_id"]: {"member_id": "no-such-member"},
        theirs[5][0]["claim_id"]: {"member_id": ""},
    }
    _change(folder / "claim.csv", "claim_id", changed)
    card = {coverages[-1]["coverage_id"]: {"card_member_id": first}}
    card[coverages[-2]["coverage_id"]] = {"card_member_id": "no-such-member"}
    _change(folder / "coverage.csv", "coverage_id", card)
    lines = _rows(folder / "claim_line.csv")
    _append(folder / "claim_line.csv", {**lines[0], "claim_id": "no-such-claim"})
    _append(folder / "claim_line.csv", {**lines[0], "claim_id": ""})
    with (folder / "claim_line.csv").open("a", encoding="utf-8") as file:
        file.write("torn,1\n")  # of no known claim
        file.write(f"{others[2]['claim_id']},1\n")
    with (folder / "claim.csv").open("a", encoding="utf-8") as file:
        file.write(f"{others[3]['claim_id']},pharmacy\n")
    _write_prior_auths(folder, claims, day)
    return folder


def _write_prior_auths(folder, claims, day):
    """Write prior authorizations with the same faults; the next night the last one is decided."""
    provider = _rows(folder / "practitioner.csv")[0]["practitioner_id"]
    of_member = {row["member_id"]: row for row in claims}
    one, other = list(of_member.values())[:2]

    def auth(number, claim, **changed):
        named = {name: claim[name] for name in ("member_id", "coverage_id", "payer_id")}
        return {
            "prior_auth_id": f"PA{number}",
            **named,
            "type": "professional",
            "received_at": "2024-03-01T08:00:00Z",
            "decided_at": "2024-03-01T12:00:00Z",
            "review_action": "A1",
            "requesting_provider_id": provider,
        } | changed

    def line(number):
        return {"prior_auth_id": number, "line_number": "1", "service_code": "70551"}

    rows = [auth(number, claim) for number, claim in enumerate(of_member.values())]
    undecided = {} if day else {"decided_at": "", "review_action": "A4"}
    rows[-1] |= undecided
    rows += [
        auth("twice", one),
        auth("twice", other),
        auth("of-nobody", one, member_id="no-such-member"),
        auth("without-member", one, member_id=""),
        auth("of-another-coverage", one, coverage_id=other["coverage_id"]),
    ]
    lines = [line(row["prior_auth_id"]) for row in rows]
    lines += [line("no-such-authorization"), line("")]
    for name, written in (("prior_auth", rows), ("prior_auth_line", lines)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(written[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(written)
            file.write(f"PA0,1{',' * len(written[0])}\n")


def _rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _append(path, row):
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, list(row), lineterminator="\n").writerow(row)


def _change(path, key, changed):
    rows = _rows(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **changed.get(row[key], {})} for row in rows)
