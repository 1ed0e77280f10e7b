"""Pictures of every page of the portal and of the reports, for people to look at.

    python -m scripts.screenshots [FOLDER]

It publishes the samples into a temporary folder, serves them as a sandbox, walks through the portal
and the reports with Chromium and writes FOLDER/<page>-<look>.png, light, dark, narrow and printed;
FOLDER is `.screenshots` where it is not given.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import ViewportSize, sync_playwright

from scripts.report_pictures import report_pictures
from tests.e2e.portal.conftest import CHROMIUM
from tests.e2e.portal.pages import every_page
from tests.e2e.portal.standing import publish, stand_up
from tests.unit.gateway.trees import LISTED, sample_tree

LOOKS: Final[dict[str, tuple[Literal["light", "dark"], Literal["screen", "print"], int]]] = {
    "light": ("light", "screen", 1280),
    "dark": ("dark", "screen", 1280),
    "narrow": ("light", "screen", 390),
    "print": ("dark", "print", 720),
}
"""Look → color scheme, medium, and width in pixels: Letter paper has 720 between its margins."""


def main(folder: Path) -> int:
    """Write the pictures; return the exit code."""
    if not shutil.which(CHROMIUM):
        print(f"error: {CHROMIUM} is not there: apt-get install chromium", file=sys.stderr)
        return 2
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.png"), *folder.glob("*.pdf")):
        old.unlink()
    count = 0
    with tempfile.TemporaryDirectory(prefix="cpcds-screenshots-") as temporary:
        work = Path(temporary)
        with (
            stand_up(publish(work), work, sample_tree(LISTED)) as standing,
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
        ):
            for look, (scheme, medium, width) in LOOKS.items():
                viewport: ViewportSize = {"width": width, "height": 800}
                with browser.new_context(
                    base_url=standing.base,
                    color_scheme=scheme,
                    viewport=viewport,
                    reduced_motion="reduce",
                ) as context:
                    page = context.new_page()
                    for name in every_page(page):
                        page.emulate_media(media=medium)  # paper has no buttons to click
                        page.screenshot(path=folder / f"{name}-{look}.png", full_page=True)
                        page.emulate_media(media="screen")
                        count += 1
                print(f"{look}: {width} pixels wide")
            count += report_pictures(browser, work, folder)
    print(f"{count} pictures in {folder}/")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(".screenshots")))
