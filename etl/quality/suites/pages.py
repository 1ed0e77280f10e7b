"""Data Docs: our own pages of what Great Expectations found, with nothing to load or run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Final

import jinja2

from etl.quality.suites.plan import SuiteResult

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Content security policy of every page: styles that are written in the page, and nothing else."""


def write_pages(
    out: Path,
    results: Sequence[SuiteResult],
    row_counts: Mapping[str, int],
    *,
    run_name: str,
    run_time: datetime,
) -> None:
    """Write `index.html`, and `<table>.html` for each table; make the folder if it is missing.

    Args:
        results: of each suite.
        row_counts: table -> rows of the extract, without superseded ones.
    """
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    template = files("etl.quality.suites").joinpath("data_docs.html.j2").read_text("utf-8")
    page = environment.from_string(
        template, {"policy": POLICY, "row_counts": row_counts, "results": results}
    )
    out.mkdir(parents=True, exist_ok=True)
    begun = run_time.isoformat(timespec="seconds")
    index = page.render(suite=None, run_name=run_name, run_time=begun)
    (out / "index.html").write_text(index, encoding="utf-8")
    for result in results:
        (out / f"{result.table}.html").write_text(page.render(suite=result), encoding="utf-8")
