"""Look the locked versions up in a database of known vulnerabilities (`make audit`).

    python -m scripts.audit

Exit code 1 if one is known. A version that could not be looked up, because the service cannot be
reached or does not know it, is named: nothing is taken for safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

AUDITOR: Final = Path(".tools/bin/python")


def main() -> int:
    """Print what is known; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "requirements.txt")
        command = ["uv", "export", "--quiet", "--frozen", "--all-extras", "--all-groups"]
        options = ["--no-emit-project", "--output-file", str(lock)]
        subprocess.run([sys.executable, "-m", *command, *options], check=True)  # noqa: S603
        asked = subprocess.run(  # noqa: S603
            [AUDITOR, "-m", "pip_audit", "--disable-pip", "--format", "json", "-r", lock],
            capture_output=True,
            text=True,
            check=False,
        )
    try:
        answers: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
    except ValueError:
        last = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"audit: NOT DONE, the service could not be asked ({last[:200]})")
        return 0
    return report(answers)


def report(packages: Sequence[dict[str, Any]]) -> int:
    """Print what was answered for each package; return 1 if a vulnerability is known."""
    known = [package for package in packages if package.get("vulns")]
    unknown = sorted({package["name"] for package in packages if "skip_reason" in package})
    for package in known:
        ids = ", ".join(one["id"] for one in package["vulns"])
        fixed = sorted({version for one in package["vulns"] for version in one["fix_versions"]})
        print(f"{package['name']} {package['version']}: {ids}; fixed in {', '.join(fixed) or '-'}")
    looked_up = len({package["name"] for package in packages}) - len(unknown)
    if not looked_up:
        print(f"audit: NOT DONE, the service knows none of {len(unknown)} packages")
        return 0
    print(f"audit: {looked_up} packages looked up, {len(known)} with known vulnerabilities")
    if unknown:
        print(f"audit: NOT LOOKED UP, nothing is said of {len(unknown)}: {', '.join(unknown)}")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
