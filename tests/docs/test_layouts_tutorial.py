"""The tutorial of layouts: its files, queries and layout are what it says they are."""

import json
import re

from tests.docs.pages import page
from tests.e2e.commands import cpcds, done

_NAMED = re.compile(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)


def written(folder, heading):
    """Write the named blocks of a part of the page into a folder."""
    part = page("docs/layouts.md").split(f"\n{heading}\n")[1].split("\n## ")[0]
    for name, text in _NAMED.findall(part):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_files_of_the_sql_tutorial_are_published_by_its_queries(tmp_path):
    folder = written(tmp_path, "## SQL")
    assert "no mistakes" in done(cpcds("layouts", "check", folder / "extract.toml")).out
    called = cpcds("validate", folder / "extract.toml", "--report", tmp_path / "r", "--json")
    tables = json.loads(done(called).out)["tables"]
    counts = {name: (table["in"], table["quarantined"]) for name, table in tables.items()}
    assert counts["member"] == (2, 0)
    assert counts["coverage"] == (3, 0)
    assert counts["claim"] == (2, 0)
    assert counts["claim_line"] == (3, 0)
    assert counts["claim_diagnosis"] == (3, 0)


def test_the_mistake_that_the_sql_tutorial_shows_is_what_the_check_says(tmp_path):
    folder = written(tmp_path, "## SQL")
    path = folder / "sql/claim.sql"
    text = path.read_text().replace("Service, '%m/%d/%Y')::date", "Servic, '%m/%d/%Y')::date")
    path.write_text(text)
    said = " ".join(cpcds("layouts", "check", folder / "extract.toml").err.split())
    (shown,) = re.findall(r"as `(sql/claim\.sql:[^`]*)`", page("docs/layouts.md"))
    assert " ".join(shown.split()) in said


def test_the_layout_of_the_example_reads_its_files(tmp_path):
    folder = written(tmp_path, "## An example")
    done(cpcds("--mappings", folder, "layouts", "test", folder / "acme.yaml", "--write"))
    rows = [json.loads(line) for line in (folder / "acme/expected.ndjson").read_text().splitlines()]
    (claim,) = [row for row in rows if row["table"] == "claim" and "finding" not in row]
    assert claim["amount_submitted"] == "150.00"
    team = [row["provider_id"] for row in rows if row.get("table") == "claim_care_team"]
    assert team == ["1234567893", "1234567901"]
