"""The project's pages, and what is written in them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_CODE: Final = re.compile(r"`([^`\n]+)`")
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CELL: Final = re.compile(r"(?<!\\)\|")


def tracked() -> list[str]:
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


def page(name: str) -> str:
    """Return the text of a page."""
    return (ROOT / name).read_text("utf-8")


def codes(text: str) -> set[str]:
    """Return everything that stands between single backticks."""
    return set(_CODE.findall(text))


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, until the next of its depth or above."""
    depth = len(heading) - len(heading.lstrip("#"))
    found = re.search(
        rf"^{re.escape(heading)}$(.*?)(?=^#{{1,{depth}}} |\Z)",
        _FENCE.sub("", text),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, f"there is no heading {heading!r}"
    return found.group(1)


def rows(text: str) -> list[list[str]]:
    """Return the cells of all table rows of a text, headings and rulers left out."""
    found = []
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            cells = _CELL.split(line.strip().strip("|"))
            found.append([cell.strip() for cell in cells])
    return found


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", text)
