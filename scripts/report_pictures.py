"""Pictures of the reports' pages, on screens and on paper (`scripts.screenshots`)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from datetime import UTC, datetime
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
_OPEN: Final = "document.querySelectorAll('details').forEach(each => each.open = true)"
_LIMITS: Final = ("FEWER_ROWS", "FEWER_CLAIMS", "RETRACTED_MEMBERS", "RETRACTED_CLAIMS")
_UNLIMITED: Final = {
    **{f"CPCDS_LIMITS__{name}": "1" for name in (*_LIMITS, "RETRACTED_RESOURCES")},
    "CPCDS_LIMITS__MONEY_CHANGE": "1000",
    "CPCDS_REPORT__GX_ROWS": "2000",
}


def report_pictures(browser: Browser, work: Path, folder: Path) -> int:
    """Write pictures of each page that a command writes; return how many.

    Two nights are published, of claims and of a directory, of which the second has planted faults.
    """
    pages = _pages(work)
    count = 0
    for look, (scheme, width) in _LOOKS.items():
        viewport: ViewportSize = {"width": width, "height": 900}
        with browser.new_context(color_scheme=scheme, viewport=viewport) as context:
            page = context.new_page()
            for name, path in pages.items():
                page.goto(path.as_uri())
                count += _picture(page, folder, f"{name}-{look}")
                if look == "light":
                    for paper in _PAPER:
                        page.pdf(path=folder / f"{name}-{paper.lower()}.pdf", format=paper)
                        count += 1
                if page.locator("details").count():
                    page.evaluate(_OPEN)
                    count += _picture(page, folder, f"{name}-open-{look}")
    return count


def _picture(page: Page, folder: Path, name: str) -> int:
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    return 1


def _pages(work: Path) -> Mapping[str, Path]:
    """Have commands write their pages; return name -> where each is."""
    target, faulty = work / "nights", SAMPLES / "faulty"
    done(cpcds("run", SAMPLES, "--to", target, "--workers", "1", **_UNLIMITED))
    plan, history = work / "plan.html", work / "history.html"
    done(cpcds("run", faulty, "--to", target, "--dry-run", "--html", plan, **_UNLIMITED))
    first = json.loads((target / "current.json").read_text())["release"]
    done(cpcds("run", faulty, "--to", target, "--workers", "1", **_UNLIMITED))
    release = json.loads((target / "current.json").read_text())["release"]
    difference, lineage, numbers = (work / f"{name}.html" for name in ("diff", "lineage", "cms"))
    done(cpcds("diff", target, first, release, "--html", difference))
    done(cpcds("history", target, "--html", history))
    with (faulty / "claim.csv").open(encoding="utf-8") as file:
        claim = next(csv.DictReader(file))["claim_id"]
    done(cpcds("explain", target, f"claim:{claim}", "--extract", faulty, "--html", lineage))
    server = {
        "CPCDS_AUTH__MODE": "sandbox",
        "CPCDS_AUTH__DATABASE": f"sqlite:///{work / 'numbers.sqlite3'}",
        "CPCDS_AUTH__AUDIT": str(work / "audit"),
    }
    year = str(datetime.now(UTC).year)
    done(cpcds("report", "cms", "--year", year, "--html", numbers, **server))
    reports = target / "reports"
    return {
        **_directory_pages(work),
        "reports-all": reports / "index.html",
        "report": reports / release / "index.html",
        "report-first": reports / first / "index.html",
        "report-rule": reports / release / "rules/required.html",
        "report-data-docs": reports / release / "data-docs/index.html",
        "report-suite": reports / release / "data-docs/claim.html",
        "plan": plan,
        "diff": difference,
        "history": history,
        "lineage": lineage,
        "cms": numbers,
    }


def _directory_pages(work: Path) -> Mapping[str, Path]:
    """Have commands write the pages of a directory's target; return name -> where each is."""
    target = work / "directory"
    for day, more in enumerate(((), ("--fault-rate", "1"))):
        extract = work / f"directory-{day}"
        planted = ("--directory", "--practitioners", "68", "--seed", "5", *more)
        done(cpcds("synth", *planted, "--out", extract))
        done(cpcds("run", extract, "--to", target, "--workers", "1", **_UNLIMITED))
    release = json.loads((target / "current.json").read_text())["release"]
    history = work / "directory-history.html"
    done(cpcds("history", target, "--html", history))
    reports = target / "reports"
    return {
        "reports-all-directory": reports / "index.html",
        "report-directory": reports / release / "index.html",
        "history-directory": history,
    }
