"""Write bills of materials of what users install, and the list of licences (`make sbom`).

    python -m scripts.sbom [FOLDER]

FOLDER (`.sbom`) gets cpcds-bluebutton-<extra>.cdx.json, CycloneDX 1.5, for each kind of host.
requirements/licences.md gets the packages of every extra with the licence that each states, also
those that other platforms and versions of Python need. The same lock gives the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, NamedTuple

HOSTS: Final = ("batch", "serve", "executor", "spark")
LICENCES: Final = Path("requirements/licences.md")
# The version of Python that packages are fetched for which this one does not install.
OTHER_PYTHON: Final = "3.13"
PIN: Final = re.compile(r"^(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>[^\s;]+)", re.MULTILINE)


class Package(NamedTuple):
    """A locked package.

    Attributes:
        name: as indexes compare it (PEP 503).
        version: its version.
    """

    name: str
    version: str


def main(folder: Path) -> int:
    """Write the files; return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    for extra in HOSTS:
        bill = json.loads(export(extra, "--format", "cyclonedx1.5"))
        del bill["serialNumber"], bill["metadata"]["timestamp"]
        file = folder / f"cpcds-bluebutton-{extra}.cdx.json"
        file.write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
        print(f"{file}: {len(bill['components'])} packages")
    extras = {extra: locked(export(extra, "--no-hashes")) for extra in shipped_extras()}
    with tempfile.TemporaryDirectory(prefix="cpcds-sbom-") as temporary:
        LICENCES.write_text(
            licences_page(stated_by_packages(extras, Path(temporary)), extras), encoding="utf-8"
        )
    print(LICENCES)
    return 0


def shipped_extras() -> list[str]:
    """Return the extras that users install: all but that of developers."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(set(project["optional-dependencies"]) - {"dev"})


def export(extra: str, *options: str) -> str:
    """Return the locked packages of an extra, as uv writes them."""
    project = ("--no-emit-project", "--no-annotate") if "--format" not in options else ()
    return run("uv", "export", "--quiet", "--frozen", "--extra", extra, *project, *options)


def locked(requirements: str) -> set[Package]:
    """Return the packages that a list of requirements pins."""
    return {Package(canonical(pin["name"]), pin["version"]) for pin in PIN.finditer(requirements)}


def stated_by_packages(
    extras: Mapping[str, set[Package]], folder: Path
) -> dict[Package, Distribution]:
    """Return what each package states of itself; those that are not installed are fetched."""
    stated = packages_in(Path(sysconfig.get_path("purelib")))
    for package in sorted(set().union(*extras.values()) - stated.keys()):
        target = folder / f"{package.name}-{package.version}"
        run(
            *("uv", "pip", "install", "--quiet", "--no-deps", "--target", str(target)),
            *("--python-version", OTHER_PYTHON, f"{package.name}=={package.version}"),
        )
        stated |= packages_in(target)
    return stated


def packages_in(folder: Path) -> dict[Package, Distribution]:
    """Return the packages that are installed in a folder, with what they state of themselves."""
    return {
        Package(canonical(found.name), found.version): found
        for found in distributions(path=[str(folder)])
    }


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licences_page(
    stated: Mapping[Package, Distribution], extras: Mapping[str, set[Package]]
) -> str:
    """Return the list of licences as Markdown: a row per package, with the extras that need it."""
    rows = []
    for package in sorted(set().union(*extras.values())):
        needing = [extra for extra, packages in extras.items() if package in packages]
        named = "all" if len(needing) == len(extras) else ", ".join(needing)
        found = stated[package]
        rows.append(f"| {found.name} | {package.version} | {licence_of(found)} | {named} |")
    head = (
        "# Licences\n\n"
        "What each extra installs, as the packages state it themselves. A package is listed twice\n"
        "if versions of Python need two versions of it. Made by `make sbom`.\n\n"
        "| package | version | licence | extras |\n|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def licence_of(package: Distribution) -> str:
    """Return a package's licence: its SPDX expression, else its classifiers, else its own words."""
    return next((words.replace("|", "/") for words in stated_licences(package)), "not stated")


def stated_licences(package: Distribution) -> Iterator[str]:
    """Yield what a package states of its licence, the most exact first."""
    yield from package.metadata.get_all("License-Expression", [])
    classifiers = [
        classifier.rsplit(" :: ", 1)[1]
        for classifier in package.metadata.get_all("Classifier", [])
        if classifier.startswith("License :: ") and not classifier.endswith(":: OSI Approved")
    ]
    if classifiers:
        yield "; ".join(sorted(classifiers))
    for words in package.metadata.get_all("License", []):
        yield from [line for line in words.strip().splitlines()[:1] if line != "UNKNOWN"]


def run(module: str, *arguments: str) -> str:
    """Run a module of this interpreter; return what it prints.

    Raises:
        SystemExit: it failed; what it said is the message.
    """
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: {module} {arguments[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".sbom")))
