"""Look the locked versions up in a database of known vulnerabilities (`make audit`).

    python -m scripts.audit [LOCK...]

Exit code 1 where one is known. A version that could not be looked up, because the service was out
of reach or does not know it, is named: nothing is said of it, and nothing is taken for safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

LOCKS: Final = tuple(f"requirements/{lock}.txt" for lock in ("extras", "dev", "tools"))


def main(locks: Sequence[str]) -> int:
    """Print what is known; return the exit code."""
    packages: dict[tuple[str, str], dict[str, Any]] = {}
    for lock in locks:  # one at a time: two locks may hold a package in two versions
        asked = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pip_audit", "--disable-pip", "--format", "json", "-r", lock],
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answers: list[dict[str, Any]] = json.loads(asked.stdout)["dependencies"]
        except ValueError:
            last = (asked.stderr.strip().splitlines() or ["no answer"])[-1]
            print(f"audit: {lock} NOT DONE, the service could not be asked ({last[:200]})")
            continue
        packages |= {(each["name"], each.get("version", "")): each for each in answers}
    return report(list(packages.values())) if packages else 0


def report(packages: Sequence[dict[str, Any]]) -> int:
    """Print what was answered of each package; return 1 where a vulnerability is known."""
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
    sys.exit(main(sys.argv[1:] or LOCKS))
