"""The page of a plan; that of the difference of two releases is made by the same code."""

import html
import json
import re
from pathlib import Path

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, cpcds, done, rows_of

MAPPINGS = Path(__file__).parents[2] / "mappings"
PRIVATE = ("member_id", "family_name", "birth_date", "address_line", "claim_id", "email")


def figures(page, row):
    found = re.search(rf"<tr><td>{row}</td>((?:<td class=\"n\">[\d,]+</td>)+)", page)
    assert found, row
    return [int(text.replace(",", "")) for text in re.findall(r">([\d,]+)<", found.group(1))]


@pytest.mark.slow
def test_the_page_of_a_plan_says_what_the_plan_says_and_shows_no_value(tmp_path):
    days = [tmp_path / "day0", tmp_path / "day1"]
    for day, folder in enumerate(days):
        write_extract(folder, Spec(members=30, seed=7, day=day, change_rate=0.6))
    done(cpcds("run", days[0], "--to", tmp_path / "tree"))
    page = tmp_path / "plan.html"
    arguments = ("run", days[1], "--to", tmp_path / "tree", "--dry-run", "--html", page)
    said = json.loads(done(cpcds(*arguments, "--json", **ANY_CHANGE)).out)
    text = page.read_text()
    assert figures(text, "members") == list(said["patients"].values())
    for name, counts in said["resources"].items():
        assert figures(text, name) == list(counts.values())
    assert "No limit stops the run" in text
    assert text.count("<li class=") == len(said["limits"])
    assert "<h2>New since then</h2>" in text
    assert "<h2>Must-support elements, before and after</h2>" in text
    text = re.sub("</?mark>", "", html.unescape(text))
    samples = re.findall(r"<tr><td><code>(.+?)</code></td><td>(.*?)</td><td>(.*?)</td></tr>", text)
    assert samples
    for _, *sides in samples:
        assert all(re.fullmatch(r"—|(?:[9Aa]|[^\w<]|_)+", side) for side in sides), sides
    values = {
        row[column]
        for folder in days
        for table in ("member", "claim")
        for row in rows_of(folder / f"{table}.csv")
        for column in PRIVATE
        if row.get(column)
    }
    assert len(values) > 100
    assert [value for value in values if value in text] == []
    assert cpcds(*arguments, CPCDS_LIMITS__RETRACTED_CLAIMS="0").code == 4
    assert '<li class="bad">✗ ' in page.read_text()


def test_a_page_of_a_run_that_is_no_plan_is_refused(small, tmp_path):
    called = cpcds("run", small, "--to", tmp_path / "t", "--html", tmp_path / "x.html")
    assert called.code == 2
    assert "--dry-run" in called.sentence
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "x.html").exists()


def test_a_run_says_which_definitions_changed_and_who_started_it(small, tmp_path):
    tree, overlay, name = tmp_path / "tree", tmp_path / "overlay", "claim_status.csv"
    done(cpcds("run", small, "--to", tree, "--note", " CHG-1 "))
    shipped = (MAPPINGS / "crosswalks" / name).read_text().splitlines(keepends=True)
    (overlay / "crosswalks").mkdir(parents=True)
    (overlay / "crosswalks" / name).write_text("".join([*shipped, "unheard-of,active\n"]))
    run = ("--mappings", overlay, "run", small, "--to", tree)
    changed = f"crosswalks/{name} in overlay 1 (new)"
    planned = json.loads(done(cpcds(*run, "--dry-run", "--json")).out)
    assert changed in planned["definitions"]
    called = done(cpcds(*run))
    assert changed in called.err
    releases = json.loads(done(cpcds("releases", tree, "--json")).out)
    ids = sorted(release["release"] for release in releases)
    assert changed in (tree / "reports" / ids[1] / "index.html").read_text()
    assert changed in done(cpcds("diff", tree, *ids)).out
    assert json.loads(done(cpcds("diff", tree, *ids[::-1], "--json")).out)["definitions"]
    last, first = json.loads(done(cpcds("history", tree, "--json")).out)
    assert (first["note"], last["note"]) == ("CHG-1", "")
    assert first["user"]
    assert first["host"]
