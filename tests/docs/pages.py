"""The project's pages, and what is written in them."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def tracked():
    """Return the paths of all files that git knows, from the project's root."""
    found = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - whichever git made the checkout
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if found.returncode == 0:
        return [name for name in found.stdout.decode().split("\0") if (ROOT / name).is_file()]
    kept = (path for path in ROOT.rglob("*") if path.is_file())
    names = (path.relative_to(ROOT).as_posix() for path in kept)
    return [name for name in names if not name.startswith((".", "output/"))]


def page(name):
    """Return the text of a page."""
    return (ROOT / name).read_text("utf-8")


def prose(text):
    """Return a page without its code blocks."""
    return _FENCE.sub("", text)
