"""Write bills of materials of what each extra installs, and the list of licences (`make sbom`).

    python -m scripts.sbom [FOLDER]

For each extra, the locked packages are installed by hash into an environment of their own, which is
read and thrown away. FOLDER (`.sbom`) gets cpcds-bluebutton-<extra>.cdx.json, CycloneDX 1.6, and
requirements/licences.md the licences: the same bytes for the same locks.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

EXTRAS: Final = ("batch", "serve")
LICENCES: Final = Path("requirements/licences.md")


def main(folder: Path) -> int:
    """Write the files; return the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    listed: dict[str, list[Mapping[str, Any]]] = {}
    for extra in EXTRAS:
        with tempfile.TemporaryDirectory(prefix="cpcds-sbom-") as temporary:
            python = installed(extra, Path(temporary))
            bill = folder / f"cpcds-bluebutton-{extra}.cdx.json"
            run(
                *("cyclonedx_py", "environment", "--output-reproducible", "--spec-version", "1.6"),
                *("--pyproject", "pyproject.toml", "--output-file", str(bill), str(python)),
            )
            listed[extra] = json.loads(
                run("piplicenses", "--python", str(python), "--format", "json", "--from", "all")
            )
        print(f"{bill}: {len(listed[extra])} packages")
    LICENCES.write_text(licences_page(listed), encoding="utf-8")
    print(LICENCES)
    return 0


def installed(extra: str, folder: Path) -> Path:
    """Install the locked packages of an extra into a new environment; return its interpreter."""
    run("venv", "--without-pip", str(folder))
    python = folder / "bin" / "python"
    run(
        *("pip", "--quiet", "--disable-pip-version-check", "--python", str(python)),
        *("install", "--require-hashes", "--requirement", f"requirements/{extra}.txt"),
    )
    return python


def licences_page(listed: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the list of licences as Markdown: a row a package, with the extras that need it."""
    rows: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for extra, packages in listed.items():
        for package in packages:
            key = (package["Name"], package["Version"])
            rows.setdefault(key, (licence_of(package), []))[1].append(extra)
    lines = [
        f"| {name} | {version} | {licence} | {', '.join(extras)} |"
        for (name, version), (licence, extras) in sorted(
            rows.items(), key=lambda row: row[0][0].lower()
        )
    ]
    head = (
        "# Licences\n\n"
        "What each extra installs, as the packages state it themselves. Made by `make sbom`.\n\n"
        "| package | version | licence | extras |\n|---|---|---|---|\n"
    )
    return head + "\n".join(lines) + "\n"


def licence_of(package: Mapping[str, Any]) -> str:
    """Return a package's licence: its SPDX expression, else its classifiers, else its own words."""
    expression = package.get("License-Expression", "UNKNOWN")
    classified = package.get("License-Classifier", "UNKNOWN")
    stated = package.get("License-Metadata", "UNKNOWN").strip().splitlines()
    for words in (expression, classified, stated[0] if stated else "UNKNOWN"):
        if words not in ("UNKNOWN", ""):
            return str(words).replace("|", "/")
    return "not stated"


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
