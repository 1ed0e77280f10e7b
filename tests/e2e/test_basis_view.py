"""`--view basis`: claims without amounts from the command line to the published tree."""

import gzip
import json
import re
from importlib import import_module
from typing import Any

import pytest

from etl.synth import Spec, write_extract
from tests.e2e.commands import SAMPLES, converted, cpcds, done

MONEY = re.compile(r'"(?:total|amount|net|unitPrice|currency|benefitBalance|\w*Money)"')
"""Members of FHIR's Money, and where it stands."""


OWN = ("reports/", "quarantine/", "rows/", "memory/", ".", "runs/")


@pytest.fixture(scope="module")
def basis(tmp_path_factory):
    out = tmp_path_factory.mktemp("basis")
    done(cpcds("convert", SAMPLES, "--out", out, "--view", "basis", "--workers", "1"))
    return out


def conforms(*what):
    report: dict[str, Any] = json.loads(done(cpcds("conform", *what, "--json")).out)
    return report


def test_the_samples_conform_in_the_basis_view_and_hold_no_amount(basis):
    assert conforms(basis)["errors"] == 0
    text = (basis / "ExplanationOfBenefit.ndjson").read_text("utf-8")
    assert MONEY.search(text) is None


def test_the_search_for_money_finds_it_in_the_financial_view(ndjson):
    lines = (ndjson / "ExplanationOfBenefit.ndjson").read_text("utf-8").splitlines()
    assert lines
    assert all(MONEY.search(line) for line in lines)


def test_every_claim_is_there_under_the_id_that_it_has_in_the_financial_view(ndjson, basis):
    def ids(folder):
        return [f"{one['resourceType']}/{one['id']}" for one in converted(folder)]

    assert ids(basis) == ids(ndjson)


def test_fhir_resources_accepts_basis_claims(basis):
    model = import_module("fhir.resources.R4B.explanationofbenefit").ExplanationOfBenefit
    lines = (basis / "ExplanationOfBenefit.ndjson").read_text("utf-8").splitlines()
    assert {model.model_validate_json(line).use for line in lines[::20]} == {"claim"}


@pytest.mark.parametrize(
    "seed",
    [
        *(pytest.param(seed, marks=pytest.mark.slow) for seed in (11, 12)),
        *(pytest.param(seed, marks=pytest.mark.long) for seed in range(13, 19)),
    ],
)
def test_any_synthetic_extract_conforms_in_the_basis_view(tmp_path, seed):
    write_extract(tmp_path / "in", Spec(members=40, seed=seed))
    out = tmp_path / "out"
    done(cpcds("convert", tmp_path / "in", "--out", out, "--view", "basis", "--workers", "1"))
    assert conforms(out)["errors"] == 0
    assert MONEY.search((out / "ExplanationOfBenefit.ndjson").read_text("utf-8")) is None


def published(target):
    """Yield name and text of every object that readers are led to: not the payer's own."""
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_file() and not name.startswith(OWN):
            data = path.read_bytes()
            yield name, (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")


def test_no_object_of_a_published_tree_holds_an_amount(small, tmp_path):
    target = tmp_path / "basis"
    called = cpcds("run", small, "--to", target, CPCDS_PUBLISH__VIEW="basis")
    done(called)
    objects = dict(published(target))
    assert {name.partition("/")[0] for name in objects} >= {"patients", "bulk", "releases"}
    assert [name for name, text in objects.items() if MONEY.search(text)] == []
    (manifest,) = (json.loads(text) for name, text in objects.items() if "manifest" in name)
    assert manifest["mapping"]["view"] == "basis"
    assert manifest["totals"] == {}
    assert conforms(target)["errors"] == 0


def names(target):
    """Return the names of all that is in a target but records of runs, refused ones among them."""
    return sorted(path.name for path in target.rglob("*") if "runs" not in path.parts)


def test_a_target_holds_one_view_and_another_run_is_refused(small, tmp_path):
    target = tmp_path / "tree"
    done(cpcds("run", small, "--to", target, "--view", "basis"))
    before = names(target)
    for arguments in ((), ("--dry-run",), ("--view", "financial")):
        called = cpcds("run", small, "--to", target, *arguments)
        assert called.code == 2
        assert "holds the basis view" in called.sentence
        assert "--view basis" in called.sentence
    assert names(target) == before
    again = done(cpcds("run", small, "--to", target, "--view", "basis"))
    assert "nothing to do" in again.out
