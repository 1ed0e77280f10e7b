"""What the certificate costs: its share of the processor time of a full run, and of a night.

    python -m benchmarks.certificate --members 2000 --nights 1
    python -m benchmarks.certificate --members 2000 --without-suites

The runs have one process and the settings that are the default; without suites the share is the
largest there is. Both parts of the ratio are of one run: machines are shared and noisy, and ratios
of one run are less so. Exit 1 where a full run spends more than a tenth.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl.synth import Spec, write_extract

GOAL = 0.1
"""Share of a full run that the certificate may take."""
PARTS = (
    ("etl.pipeline.unit", "certified_rows"),
    ("etl.pipeline.unit", "compare_unit"),
    ("etl.pipeline.run", "certified"),
    ("etl.pipeline.run", "write_state"),
)
"""Module and name of each function that does nothing but make the certificate."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.certificate", description=__doc__)
    parser.add_argument("--members", type=int, default=2000, help="with ten years of claims")
    parser.add_argument("--nights", type=int, default=1, help="how many follow the full run")
    parser.add_argument("--without-suites", action="store_true")
    parser.add_argument("--run", nargs=2, metavar=("EXTRACT", "TARGET"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.run:
        print(json.dumps(_run(*asked.run, with_suites=not asked.without_suites)))
        return
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for day in range(1 + asked.nights):
            extract = Path(folder, f"day{day}")
            write_extract(extract, Spec(asked.members, seed=1, day=day))
            command = [sys.executable, "-m", __spec__.name]
            command += ["--without-suites"] * asked.without_suites
            done = subprocess.run(  # noqa: S603 - this program, with arguments of its own
                [*command, "--run", str(extract), str(Path(folder, "tree"))],
                check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            spent = json.loads(done.stdout)
            shares.append(spent["certificate"] / spent["run"])
            print(
                f"{'night' if day else 'full':>6}: processor {spent['run']:7.2f} s, of these "
                f"{spent['certificate']:6.2f} s for the certificate: {shares[-1]:.1%}",
                flush=True,
            )
    sys.exit(shares[0] > GOAL)


def _run(extract: str, target: str, *, with_suites: bool) -> dict[str, float]:
    """Publish an extract; return seconds of processor time."""
    from importlib import import_module

    from etl.bootstrap.gc_policy import gc_disabled

    with gc_disabled():  # as the command line loads them
        from etl.bootstrap.settings import read_settings
        from etl.bootstrap.use_cases import run_extract
        from etl.pipeline.events import ignore
    spent: list[float] = []
    for module, name in PARTS:
        home = import_module(module)
        setattr(home, name, _timed(getattr(home, name), spent))
    report = {} if with_suites else {"gx_rows": 0}
    settings = read_settings(None, target=target, run={"workers": 1}, report=report)
    began = time.process_time()
    run_extract(settings, Path(extract), ignore)
    return {"run": time.process_time() - began, "certificate": sum(spent)}


def _timed(call: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    @functools.wraps(call)
    def timed(*given: Any, **named: Any) -> Any:
        began = time.process_time()
        found = call(*given, **named)
        spent.append(time.process_time() - began)
        return found

    return timed


if __name__ == "__main__":
    main()
