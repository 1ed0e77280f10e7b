"""Prior authorizations, and a delta on top: published, explained, counted and posted."""

import json

import pytest

from etl.model.data_models import DIRECTORY
from etl.publish.manifest import ReleaseFacts
from etl.storage.local import LocalStore
from tests.e2e.commands import ANY_CHANGE, cpcds, done, published, rows_of
from tests.integration.test_adjustment_chains import FILES
from tests.unit.publish.samples import publish

HEADER = (
    "record_action,prior_auth_id,member_id,coverage_id,payer_id,type,received_at,decided_at,"
    "review_action,expedited,requesting_provider_id,is_drug,program"
)
KEPT = {**ANY_CHANGE, "CPCDS_PUBLISH__DELTAS": "true", "CPCDS_REPORT__SMALL_CELLS": "0"}


def row(number, action="A1", *, expedited="", drug="", member="M1", hours=4, deleted=""):
    times = f"2026-03-01T08:00:00Z,2026-03-01T{8 + hours:02}:00:00Z"
    return (
        f"{deleted},PA{number},{member},C1,PAY,professional,{times},{action},{expedited},DOC,"
        f"{drug},MA"
    )


def extract(folder, kind, as_of, rows, members=("M1",)):
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text if kind == "full" else text.splitlines()[0] + "\n")
    text = (folder / "member.csv").read_text()
    text += "".join(f"{name},Roe,1980-05-06,F\n" for name in members if name != "M1")
    (folder / "member.csv").write_text(text)
    (folder / "prior_auth.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    (folder / "prior_auth_required.csv").write_text(
        "code,code_system,description\n70551,http://www.ama-assn.org/go/cpt,MRI of the brain\n"
    )
    manifest = {"layout": "cpcds", "kind": kind, "as_of": as_of}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def report(target, *options, **environment):
    return cpcds("report", "prior-auth", target, "--year", "2026", *options, **KEPT | environment)


def fates(target, number, *options):
    """Return what became of a row of prior_auth.csv."""
    row = f"prior_auth.csv:{number}"
    said = done(cpcds("explain", target, "--row", row, *options, "--json", **KEPT))
    return [each["fate"] for each in json.loads(said.out)["rows"]]


@pytest.mark.slow
def test_a_full_extract_and_its_delta_are_counted_and_posted(tmp_path):
    target, public = tmp_path / "target", tmp_path / "public"
    public.mkdir()
    rows = [row(1), row(2, "A3", hours=8), row(3, "A4"), row(4, expedited="Y"), row(5, drug="Y")]
    full = extract(tmp_path / "full", "full", "2026-12-30", rows)
    done(cpcds("run", full, "--to", target, "--workers", "1", **KEPT))
    made = (one for one in published(target) if one.get("use") == "preauthorization")
    numbers = sorted(one["identifier"][0]["value"] for one in made)
    assert numbers == ["PA1", "PA2", "PA3", "PA4"]
    assert fates(target, 5, "--extract", full) == fates(target, 5) == ["published"]
    assert fates(target, 6, "--extract", full) == fates(target, 6) == ["withdrawn"]
    early = report(target, "--post", CPCDS_PORTAL__REPORTS=str(public))
    assert (early.code, "not complete in these rows" in early.sentence) == (2, True)
    assert "Rows until 2026-12-30" in report(target).out
    changed = [row(3, "A3", hours=6), row(1, deleted="D")]
    delta = extract(tmp_path / "delta", "delta", "2027-01-02", changed)
    night = done(cpcds("run", delta, "--to", target, "--workers", "1", **KEPT))
    assert "changed: members 1, ExplanationOfBenefit 1" in night.out
    assert "retracted: ExplanationOfBenefit 1" in night.out
    page = tmp_path / "page.html"
    posted = done(report(target, "--html", page, "--post", CPCDS_PORTAL__REPORTS=str(public)))
    shown = posted.out.replace("\n    ", ", ")
    assert (
        "  standard: 2 decided, approved: 0.0 %, denied: 100.0 %, approved after appeal: 0.0 %, "
        "mean: 7.0 hours, median: 7.0 hours" in shown
    )
    assert "  all: 3 decided, extended and approved: 0.0 %" in shown
    assert posted.out.index("services that need prior authorization: 1") < posted.out.index(
        "posted:"
    )
    assert "posted: /public-reporting/prior-auth-2026" in posted.out
    document = json.loads((public / "prior-auth-2026.json").read_text())
    assert document == json.loads(report(target, "--json").out)
    (program,) = document["programs"]
    assert program["standard"]["denied"] == {"count": 2, "percent": 100.0}
    assert program["standard"]["hours"]["mean"] == 7.0
    assert program["expedited"]["approved"] == {"count": 1, "percent": 100.0}
    assert [row["reason"] for row in document["left_out"]] == ["only for drugs"]
    assert [row["code"] for row in document["required"]] == ["70551"]
    assert {line["program"] for line in rows_of(public / "prior-auth-2026.csv")} == {"MA", ""}
    assert "MRI of the brain" in page.read_text()
    # So few requests are withheld by default: each required figure is named, with the choice.
    few = report(
        target, "--post", CPCDS_PORTAL__REPORTS=str(public), CPCDS_REPORT__SMALL_CELLS="10"
    )
    assert "withheld: MA, standard: percentage denied\n" in done(few).out
    assert "--without-counts" in few.out
    assert "percentage denied" in (public / "prior-auth-2026.json").read_text()
    shares = done(report(target, "--without-counts", CPCDS_REPORT__SMALL_CELLS="10")).out
    assert "standard: withheld decided" in shares
    assert "denied: 100.0 %" in shares


def test_nothing_and_a_directory_have_no_prior_authorizations(tmp_path):
    assert "nothing has been published" in report(tmp_path).sentence
    publish(LocalStore(tmp_path), [], facts=ReleaseFacts("full", mapping=DIRECTORY.stated))
    refused = report(tmp_path)
    assert (refused.code, "contains a provider directory" in refused.sentence) == (2, True)
