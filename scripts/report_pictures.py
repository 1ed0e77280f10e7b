"""Pictures of the reports' pages, on screens and on paper (`scripts.screenshots`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, Page, ViewportSize

from tests.e2e.commands import SAMPLES, cpcds, done

_LOOKS: Final[dict[str, tuple[Literal["light", "dark"], int]]] = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "narrow": ("light", 390),
}
_PAPER: Final = ("Letter", "A4")
_LIMITS: Final = ("FEWER_ROWS", "FEWER_CLAIMS", "RETRACTED_MEMBERS", "RETRACTED_CLAIMS")
_UNLIMITED: Final = {
    **{f"CPCDS_LIMITS__{name}": "1" for name in (*_LIMITS, "RETRACTED_RESOURCES")},
    "CPCDS_LIMITS__MONEY_CHANGE": "1000",
    "CPCDS_REPORT__GX_ROWS": "2000",
}


def report_pictures(browser: Browser, work: Path, folder: Path) -> int:
    """Write pictures of two nights, of which the second has planted faults; return how many."""
    target = work / "nights"
    for extract in (SAMPLES, SAMPLES / "faulty"):
        done(cpcds("run", extract, "--to", target, "--workers", "1", **_UNLIMITED))
    release = json.loads((target / "current.json").read_text())["release"]
    count = 0
    for look, (scheme, width) in _LOOKS.items():
        viewport: ViewportSize = {"width": width, "height": 900}
        with browser.new_context(color_scheme=scheme, viewport=viewport) as context:
            page = context.new_page()
            for name in _pages(page, target / "reports", release):
                page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                count += 1
            if look == "light":
                for name in _pages(page, target / "reports", release):
                    for paper in _PAPER:
                        page.pdf(path=folder / f"{name}-{paper.lower()}.pdf", format=paper)
                        count += 1
    return count


def _pages(page: Page, reports: Path, release: str) -> Iterator[str]:
    """Show each page, and yield its name."""
    for name, path in {
        "reports-all": "index.html",
        "report": f"{release}/index.html",
        "report-rule": f"{release}/rules/required.html",
        "report-data-docs": f"{release}/data-docs/index.html",
        "report-suite": f"{release}/data-docs/claim.html",
    }.items():
        page.goto((reports / path).as_uri())
        yield name
