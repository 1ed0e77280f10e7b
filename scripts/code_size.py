"""Print how large the project is (`make size`).

    python -m scripts.code_size

Code is every line that is not blank, a comment or a docstring.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from etl.bootstrap.settings import setting_names

ROOT: Final = Path(__file__).parents[1]
_NO_CODE: Final = frozenset(
    {
        *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE),
        *(tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER),
    }
)
_IMPORTED_BY_A_RUN: Final = (
    "import sys, etl.cli.run, etl.bootstrap.use_cases, etl.pipeline.run;"
    "print(sum(name.startswith('etl.') for name in sys.modules))"
)


def code_lines(source: str) -> int:
    """Return how many lines of a Python file hold code."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    lines = {
        line
        for token in tokens
        if token.type not in _NO_CODE
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - _docstring_lines(source))


def _docstring_lines(source: str) -> set[int]:
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }


def places_and_imports(package: Path) -> Mapping[str, set[str]]:
    """Return each file and folder of a package, with those of its siblings that it imports."""
    name = ".".join(package.relative_to(ROOT).parts)
    places = {path.stem: path for path in package.iterdir() if path.stem[:2] != "__"}
    return {
        place: {
            imported.removeprefix(f"{name}.").partition(".")[0]
            for file in (path.rglob("*.py") if path.is_dir() else (path,))
            for imported in _imported_modules(file.read_text())
            if imported.startswith(f"{name}.")
        }
        - {place}
        for place, path in places.items()
    }


def levels(imports: Mapping[str, set[str]]) -> int:
    """Return how many levels the places have; places of a circle share one."""

    @cache
    def level(place: str, above: frozenset[str] = frozenset()) -> int:
        below = imports.get(place, set()) - above - {place}
        return 1 + max((level(one, above | {place}) for one in below), default=0)

    return max(level(place) for place in imports)


def _imported_modules(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _code(files: Iterable[Path]) -> int:
    return sum(code_lines(file.read_text(encoding="utf-8")) for file in files)


def _tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(  # noqa: S603 - our own words
        ["git", "ls-files", "-z", pattern],  # noqa: S607 - the git of the checkout
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def _text_lines(files: Iterable[Path]) -> int:
    return sum(file.read_text(encoding="utf-8").count("\n") for file in files)


def main() -> None:
    """Print the table, the rooms last."""
    modules = _tracked("etl/*.py")
    imports = places_and_imports(ROOT / "etl/pipeline")
    imported = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", _IMPORTED_BY_A_RUN],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    rows: list[tuple[str, int | str]] = [
        ("code of etl/", _code(modules)),
        ("modules of etl/", len(modules)),
        ("modules that cpcds run imports", imported),
        ("pipeline/: files and folders", len(imports)),
        ("pipeline/: levels", levels(imports)),
        ("pipeline/: imports between them", sum(map(len, imports.values()))),
        ("code of tests/", _code(_tracked("tests/*.py"))),
        ("lines of docs/", _text_lines(_tracked("docs/*"))),
        ("lines of lock files", _text_lines(_tracked("uv.lock"))),
        ("settings", len(setting_names())),
    ]
    rooms = sorted(
        {
            module.parent.relative_to(ROOT).parts[1]
            for module in modules
            if module.parent != ROOT / "etl"
        }
    )
    for room in rooms:
        files = [module for module in modules if module.relative_to(ROOT).parts[1] == room]
        rows.append((f"code of etl/{room}", _code(files)))
    for what, number in rows:
        print(f"{what:34} {int(number):>8,}")


if __name__ == "__main__":
    main()
