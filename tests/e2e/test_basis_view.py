"""`--view basis`: claims without amounts from the command line to the published tree."""

import json
import re

import pytest

from tests.e2e.commands import contents, cpcds, done, texts_of

MONEY = re.compile(r'"(?:total|amount|net|unitPrice|currency|benefitBalance|\w*Money)"')
"""Members of FHIR's Money, and where it stands."""


OWN = ("reports/", "quarantine/", "rows/", "memory/", ".", "runs/")


@pytest.fixture(scope="module")
def tree(small, tmp_path_factory):
    """The small extract, published in the basis view; no test changes what readers see of it."""
    target = tmp_path_factory.mktemp("basis-tree")
    done(cpcds("run", small, "--to", target, CPCDS_PUBLISH__VIEW="basis"))
    return target


@pytest.mark.slow
def test_no_object_of_a_published_tree_holds_an_amount(tree):
    objects = {name: text for name, text in texts_of(tree).items() if not name.startswith(OWN)}
    assert {name.partition("/")[0] for name in objects} >= {"patients", "bulk", "releases"}
    assert [name for name, text in objects.items() if MONEY.search(text)] == []
    (manifest,) = (json.loads(text) for name, text in objects.items() if "manifest" in name)
    assert manifest["mapping"]["view"] == "basis"
    assert manifest["totals"] == {}
    assert json.loads(done(cpcds("conform", tree, "--json")).out)["errors"] == 0


def test_a_target_holds_one_view_and_another_run_is_refused(small, tree):
    before = contents(tree)
    for arguments in ((), ("--dry-run",), ("--view", "financial")):
        called = cpcds("run", small, "--to", tree, *arguments)
        assert called.code == 2
        assert "contains the basis view" in called.sentence
        assert "--view basis" in called.sentence
    assert contents(tree) == before
    again = done(cpcds("run", small, "--to", tree, "--view", "basis"))
    assert "nothing to do" in again.out
