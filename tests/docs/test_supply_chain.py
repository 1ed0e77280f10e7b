"""The lock, licences and the audit against what pyproject.toml asks for."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

from scripts.audit import report
from scripts.sbom import (
    HOSTS,
    Package,
    canonical,
    export,
    licence_of,
    locked,
    packages_in,
    shipped_extras,
)
from tests.given.tables import read_tables

ROOT = Path(__file__).parents[2]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def packages(extra):
    """Return the packages of an extra on any platform, in the locked versions."""
    return locked(export(extra, "--no-hashes", "--no-default-groups"))


def names(extra):
    return {package.name for package in packages(extra)}


def licences():
    """Return the packages of the list of licences, each with the extras that need it."""
    page = (ROOT / "requirements" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w.-]+) \| (\S+) \| .+ \| ([\w, ]+) \|$", page, re.MULTILINE)
    return [
        (
            Package(canonical(name), version),
            set(shipped_extras()) if extras == "all" else set(extras.split(", ")),
        )
        for name, version, extras in rows
        if name != "package"
    ]


def test_the_lock_is_of_what_the_project_asks_for():
    checked = subprocess.run(
        [sys.executable, "-m", "uv", "lock", "--check", "--offline"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_each_locked_version_has_its_hashes():
    listed = [one for one in LOCK["package"] if one["name"] != "cpcds-bluebutton"]
    assert len(listed) > 150
    for package in listed:
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        assert files, package["name"]
        assert all(file["hash"].startswith("sha256:") for file in files), package["name"]


def test_what_is_tested_is_what_is_installed():
    tested = packages("dev")
    for extra in ("batch", "serve", "executor"):
        assert packages(extra) <= tested


def test_what_publishes_imports_nothing_that_only_serving_installs():
    code = (
        "import sys, etl.cli.one_off, etl.cli.explain, etl.cli.run, etl.cli.one_off;"
        "print({'authlib', 'sqlalchemy', 'starlette', 'uvicorn'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_host_that_serves_installs_no_arrow_pandas_or_great_expectations():
    assert not {"pyarrow", "pandas", "numpy", "great-expectations"} & names("serve")
    assert not {"starlette", "uvicorn", "sqlalchemy", "authlib"} & names("batch")


def test_uv_is_installed_in_the_locked_version():
    (pinned,) = locked((ROOT / "requirements" / "uv.txt").read_text(encoding="utf-8"))
    (version,) = [one["version"] for one in LOCK["package"] if one["name"] == "uv"]
    assert pinned == ("uv", version)
    assert f"uv=={version}" in PROJECT["dependency-groups"]["build"]


def test_the_licence_of_every_installed_package_is_listed():
    rows = licences()
    listed = [package for package, _ in rows]
    assert len(listed) == len(set(listed))
    assert set(listed) >= set().union(*(packages(extra) for extra in shipped_extras()))
    assert set().union(*(extras for _, extras in rows)) == set(shipped_extras())
    for extra in HOSTS:
        assert {package for package, extras in rows if extra in extras} >= packages(extra)


def test_a_licence_is_what_a_package_states_most_exactly(tmp_path):
    cases = read_tables(__file__)["packages"]
    for name, stated in cases.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n"
        (folder / "METADATA").write_text(head + stated["metadata"])
    read = packages_in(tmp_path)
    assert {package.name: licence_of(found) for package, found in read.items()} == {
        name: stated["licence"] for name, stated in cases.items()
    }


def test_an_audit_fails_on_a_known_vulnerability_and_names_what_it_could_not_look_up(capsys):
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
