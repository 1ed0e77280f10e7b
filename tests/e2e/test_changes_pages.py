"""Pages of differences: of a plan, and of two releases."""

import html
import json
import re
import shutil

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import ANY_CHANGE, cpcds, done, rows_of

PRIVATE = ("member_id", "family_name", "birth_date", "address_line", "claim_id", "email")


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A target with the first of two nights, and the extracts of both."""
    folder = tmp_path_factory.mktemp("nights")
    for day in (0, 1):
        spec = Spec(members=30, seed=7, day=day, change_rate=0.6)
        write_extract(folder / f"day{day}", spec)
    done(cpcds("run", folder / "day0", "--to", folder / "tree"))
    return folder


def figures(page, row):
    found = re.search(rf"<tr><td>{row}</td>((?:<td class=\"n\">[\d,]+</td>)+)", page)
    assert found, row
    return [int(text.replace(",", "")) for text in re.findall(r">([\d,]+)<", found.group(1))]


@pytest.mark.slow
def test_the_page_of_a_plan_says_what_the_plan_says(nights, tmp_path):
    page = tmp_path / "plan.html"
    arguments = ("run", nights / "day1", "--to", nights / "tree", "--dry-run", "--html", page)
    said = json.loads(done(cpcds(*arguments, "--json", **ANY_CHANGE)).out)
    text = page.read_text()
    assert figures(text, "members") == list(said["patients"].values())
    for name, counts in said["resources"].items():
        assert figures(text, name) == list(counts.values())
    assert "No limit stops the run" in text
    assert text.count("<li class=") == len(said["limits"])
    assert "<h2>New since then</h2>" in text
    assert "report is missing" not in text
    assert "<h2>Must-support elements, before and after</h2>" in text
    assert_samples_without_values(html.unescape(text), nights)


@pytest.mark.slow
def test_the_page_of_a_plan_says_what_would_stop_it(nights, tmp_path):
    page = tmp_path / "plan.html"
    arguments = ("run", nights / "day1", "--to", nights / "tree", "--dry-run", "--html", page)
    assert cpcds(*arguments, CPCDS_LIMITS__RETRACTED_CLAIMS="0").code == 4
    assert "✗ The run would stop: " in page.read_text()
    assert '<li class="bad">✗ ' in page.read_text()


@pytest.mark.slow
def test_the_page_of_a_difference_shows_samples_and_no_value(nights, tmp_path):
    page, tree = tmp_path / "changes.html", tmp_path / "tree"
    shutil.copytree(nights / "tree", tree)
    done(cpcds("run", nights / "day1", "--to", tree, **ANY_CHANGE))
    newest, oldest = json.loads(done(cpcds("releases", tree, "--json")).out)
    arguments = ("diff", tree, oldest["release"], newest["release"], "--html", page)
    said = json.loads(done(cpcds(*arguments, "--json")).out)
    text = html.unescape(page.read_text())
    assert figures(text, "members") == list(said["patients"].values())
    assert_samples_without_values(text, nights)


def assert_samples_without_values(text, nights):
    """Check that a page shows changed elements, and nothing of a member or claim."""
    text = re.sub("</?mark>", "", text)
    samples = re.findall(r"<tr><td><code>(.+?)</code></td><td>(.*?)</td><td>(.*?)</td></tr>", text)
    assert samples
    for _, before, after in samples:
        assert re.fullmatch(r"—|(?:[9Aa]|[^\w<]|_)+", before), before
        assert re.fullmatch(r"—|(?:[9Aa]|[^\w<]|_)+", after), after
    values = {
        row[column]
        for day in (0, 1)
        for table in ("member", "claim")
        for row in rows_of(nights / f"day{day}" / f"{table}.csv")
        for column in PRIVATE
        if row.get(column)
    }
    assert len(values) > 100
    assert [value for value in values if value in text] == []


def test_a_page_of_a_run_that_is_no_plan_is_refused(nights, tmp_path):
    called = cpcds("run", nights / "day0", "--to", tmp_path / "t", "--html", tmp_path / "x.html")
    assert called.code == 2
    assert "--dry-run" in called.sentence
    assert not (tmp_path / "t").exists()
    assert not (tmp_path / "x.html").exists()
