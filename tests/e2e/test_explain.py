"""`cpcds explain`: what it says of a resource can be looked up in the extract's files."""

import json
import shutil
from decimal import Decimal
from hashlib import sha256

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import cpcds, done, published, rows_of, write_rows

EOB = "ExplanationOfBenefit"


@pytest.fixture(scope="module")
def target(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    done(cpcds("run", small, "--to", folder, "--workers", "1"))
    return folder


def answer_to(target, *subject):
    return json.loads(done(cpcds("explain", target, *subject, "--json")).out)


def explained(target, resource, *more):
    name = f"{resource['resourceType']}/{resource['id']}"
    said = answer_to(target, name, *more)
    assert (said["subject"], said["rows"]) == (name, [])
    [found] = said["resources"]
    return found


@pytest.mark.slow
def test_a_path_narrows_it_down_to_one_amount_and_its_line(target, small):
    eob = next(one for one in published(target) if one["resourceType"] == EOB)
    found = explained(target, eob, "item[0].sequence", "--extract", small)
    [origin] = found["origins"]
    assert origin["json"] == str(eob["item"][0]["sequence"])
    assert 36 in origin["map_ids"]
    assert [cell["column"] for cell in origin["cells"]] == ["line_number"]
    subject = (f"{EOB}/{eob['id']}", "item[0].sequence", "--extract", small)
    text = done(cpcds("explain", target, *subject)).out
    assert "the published resource is the same" in text
    assert "claim_line.line_number = " in text


@pytest.mark.slow
def test_a_total_names_the_amounts_that_it_is_made_of(target, small):
    looked_at = set()
    for eob in published(target):
        if eob["resourceType"] != EOB or eob["type"]["coding"][0]["code"] in looked_at:
            continue
        looked_at.add(eob["type"]["coding"][0]["code"])
        for origin in explained(target, eob, "total", "--extract", small)["origins"]:
            if not origin["path"].endswith("amount.value"):
                continue
            cells = [cell for cell in origin["cells"] if not cell["derived"]]
            assert sum(Decimal(cell["value"]) for cell in cells) == Decimal(origin["json"])
            for cell in cells:
                row = rows_of(small / cell["file"])[cell["row"] - 2]
                assert row[cell["column"]] == cell["value"]
    assert len(looked_at) > 1


def test_without_the_extract_the_places_that_are_kept_name_the_rows(target, small, tmp_path):
    number = rows_of(small / "claim_line.csv")[0]["claim_id"]
    said = done(cpcds("explain", target, f"claim:{number}")).out
    assert "  claim_line.csv row 2 (claim_line): published" in said
    assert "  made of claim_line.csv row 2 (claim_line)" in said
    assert "answered from the row positions that the release keeps" in said
    digest = sha256((small / "claim_line.csv").read_bytes()).hexdigest()
    size = (small / "claim_line.csv").stat().st_size
    assert f"  claim_line.csv: {size:,} bytes, SHA-256 {digest}" in said
    page = tmp_path / "page.html"
    done(cpcds("explain", target, f"claim:{number}", "--html", page))
    assert number not in page.read_text()
    assert "<td>claim_line.csv</td>" in page.read_text()
    assert digest in page.read_text()


@pytest.mark.slow
def test_a_rejected_claim_names_the_rule_that_was_the_first_cause(tmp_path):
    extract = tmp_path / "extract"
    write_extract(extract, Spec(members=3, seed=3))
    claims = rows_of(extract / "claim.csv")
    number = rows_of(extract / "claim_line.csv")[0]["claim_id"]
    (broken,) = (at for at, claim in enumerate(claims) if claim["claim_id"] == number)
    claims[broken]["adjudication_date"] = "yesterday"
    write_rows(extract / "claim.csv", claims[0], claims)
    (extract / "manifest.json").unlink()
    done(cpcds("run", extract, "--to", tmp_path / "tree", "--workers", "1"))
    said = done(cpcds("explain", tmp_path / "tree", f"claim:{number}", "--extract", extract)).out
    assert f"claim.csv row {broken + 2} (claim): not published: in quarantine" in said
    assert "required (the first cause)" in said
    assert "found in adjudication_date: date-unreadable" in said
    assert "claim_line.csv row 2 (claim_line): not published: in quarantine" in said


@pytest.mark.slow
def test_a_page_shows_outlines_unless_values_are_asked_for(target, small, tmp_path):
    member = rows_of(small / "member.csv")[0]
    for name, shown in (("masked.html", False), ("values.html", True)):
        options = ["--values"] if shown else []
        done(cpcds("explain", target, "--row", "member.csv:2", "--extract", small,
                   "--html", tmp_path / name, *options))  # fmt: skip
        page = (tmp_path / name).read_text()
        assert "member.csv" in page
        assert (member["family_name"] in page) is shown
        assert (member["birth_date"] in page) is shown
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_what_cannot_be_explained_is_said_in_a_sentence(target, small, tmp_path):
    eob = next(one for one in published(target) if one["resourceType"] == EOB)
    name = f"{EOB}/{eob['id']}"
    other = tmp_path / "other"
    done(cpcds("synth", "--members", "2", "--seed", "9", "--out", other))
    read = ("--extract", small)
    for subject, sentence in (
        ((name, "--extract", other), "is not the extract that release"),
        ((name, "item[0].net"), "leave PATH out"),
        ((f"{EOB}/{'a' * 32}", *read), "no accepted row"),
        (("Claim/x", *read), "no mapping makes a Claim"),
        ((EOB, *read), "is not a subject"),
        (("--row", "2", *read), "is not a row"),
        (("--row", "claim.csv:1", *read), "has no row 1 "),
        (("--row", "x.csv:2", *read), "has no file x.csv"),
        (read, "give one subject"),
        ((name, "item[99]", *read), "has no element"),
    ):
        called = cpcds("explain", target, *subject)
        assert (called.code, sentence in called.sentence) == (2, True), called.sentence


@pytest.fixture(scope="module")
def stopped(target, small, tmp_path_factory):
    """Return a target whose latest run rejected most claims and published nothing."""
    folder = tmp_path_factory.mktemp("stopped")
    shutil.copytree(target, folder / "target")
    shutil.copytree(small, folder / "extract")
    (folder / "extract" / "manifest.json").unlink()
    rows = rows_of(folder / "extract" / "claim.csv")
    for row in rows:
        row["amount_submitted"] = "ten"
    rows.append(rows[0] | {"claim_id": "NEW-1"})
    write_rows(folder / "extract" / "claim.csv", list(rows[0]), rows)
    with (folder / "extract" / "claim.csv").open("a") as file:
        file.write("NEW-2,torn\n")
    assert cpcds("run", folder / "extract", "--to", folder / "target", "--workers", "1").code == 4
    return folder / "target"


def test_a_claim_that_only_a_stopped_run_had_is_found_in_its_quarantine(stopped):
    text = done(cpcds("explain", stopped, "claim:NEW-1")).out
    assert "claim.csv row" in text
    assert "not published: in quarantine" in text
    assert "amount-unreadable: The cell is not a decimal amount" in text
    assert "answered from the quarantine of the latest run" in text
    assert "(stopped; full extract" in text
    assert "ragged-row" in done(cpcds("explain", stopped, "claim:NEW-2")).out


def test_a_published_claim_that_a_later_run_rejected_has_both_rows(stopped, small):
    number = rows_of(small / "claim.csv")[0]["claim_id"]
    said = answer_to(stopped, f"claim:{number}")
    fates = {(row["fate"], "stopped" in row["extract"]) for row in said["rows"]}
    assert {("published", False), ("quarantined", True)} <= fates
    assert len(said["searched"]) == 2


def test_a_claim_that_no_extract_has_is_said_with_what_was_searched(stopped):
    called = cpcds("explain", stopped, "claim:NEW")
    assert called.code == 2
    assert "searched the extract of release" in called.err
    assert "and the quarantine of run" in called.err
