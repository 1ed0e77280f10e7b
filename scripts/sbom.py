"""Write bills of materials of what locks install, and the list of licences (`make sbom`).

    python -m scripts.sbom [FOLDER]

For each extra with a lock of its own, the locked packages are installed by hash into an environment
of their own, which is read and thrown away: FOLDER (`.sbom`) gets
cpcds-bluebutton-<extra>.cdx.json, CycloneDX 1.6. requirements/licences.md gets the packages of
every extra that users install, also those that other platforms and versions of Python need. The
same locks give the same bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final, NamedTuple

LOCKED: Final = ("batch", "serve", "executor", "spark")
ALL: Final = Path("requirements/extras.txt")
LICENCES: Final = Path("requirements/licences.md")
# The version of Python that packages are fetched for which this one does not install.
OTHER_PYTHON: Final = "3.13"
PIN: Final = re.compile(r"^(?P<name>[\w.-]+)(\[[\w,-]+\])?==(?P<version>[^\s;]+)", re.MULTILINE)
HASH: Final = re.compile(r"--hash=\S+")


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
    stated: dict[Package, Distribution] = {}
    with tempfile.TemporaryDirectory(prefix="cpcds-sbom-") as temporary:
        for extra in LOCKED:
            environment = Path(temporary) / extra
            installed = packages_in(environment_of(extra, environment))
            bill = folder / f"cpcds-bluebutton-{extra}.cdx.json"
            run(
                *("cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6"),
                *("--pyproject", "pyproject.toml", "--output-file", str(bill)),
                str(environment / "bin" / "python"),
            )
            print(f"{bill}: {len(installed)} packages")
            stated |= installed
        for package, hashes in locked(ALL.read_text(encoding="utf-8")).items():
            if package not in stated:
                stated |= packages_in(fetched(package, hashes, Path(temporary)))
        extras = {extra: packages_of(extra) for extra in shipped_extras()}
        LICENCES.write_text(licences_page(stated, extras), encoding="utf-8")
    print(LICENCES)
    return 0


def shipped_extras() -> list[str]:
    """Return the extras that users install: all but that of developers."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    return sorted(set(project["optional-dependencies"]) - {"dev"})


def environment_of(extra: str, folder: Path) -> Path:
    """Install the locked packages of an extra into a new environment; return its packages."""
    run("venv", "--without-pip", str(folder))
    run(
        *("pip", "--quiet", "--disable-pip-version-check", "--python", f"{folder}/bin/python"),
        *("install", "--require-hashes", "--requirement", f"requirements/{extra}.txt"),
    )
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))


def fetched(package: Package, hashes: Iterable[str], folder: Path) -> Path:
    """Fetch one package by itself, also one of another platform; return its folder."""
    requirement = folder / f"{package.name}-{package.version}.txt"
    requirement.write_text(f"{package.name}=={package.version} {' '.join(hashes)}\n")
    run(
        *("uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"),
        *("--only-binary", ":all:", "--python-version", OTHER_PYTHON),
        *("--requirement", str(requirement), "--target", str(requirement.with_suffix(""))),
    )
    return requirement.with_suffix("")


def packages_of(extra: str) -> set[Package]:
    """Return the packages of an extra on any platform, in the versions that are locked."""
    lock = run(
        *("uv", "pip", "compile", "--quiet", "--universal", "--no-annotate", "--no-header"),
        *("pyproject.toml", "--group", "build", "--extra", extra, "--constraint", str(ALL)),
    )
    return set(locked(lock))


def locked(lock: str) -> dict[Package, list[str]]:
    """Return the packages that a lock names, each with its hashes."""
    pins = list(PIN.finditer(lock))
    ends = [*(pin.start() for pin in pins[1:]), len(lock)]
    return {
        Package(canonical(pin["name"]), pin["version"]): HASH.findall(lock, pin.end(), end)
        for pin, end in zip(pins, ends, strict=True)
    }


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
    """Return the list of licences as Markdown: a row a package, with the extras that bring it."""
    rows = []
    for package in sorted(set().union(*extras.values())):
        needing = [extra for extra, packages in extras.items() if package in packages]
        named = "all" if len(needing) == len(extras) else ", ".join(needing)
        found = stated[package]
        rows.append(f"| {found.name} | {package.version} | {licence_of(found)} | {named} |")
    head = (
        "# Licences\n\n"
        "What each extra installs, as the packages state it themselves. A package stands twice\n"
        "where versions of Python need two versions of it. Made by `make sbom`.\n\n"
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
