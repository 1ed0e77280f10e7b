"""Style of the code that no tool checks: class names, docstrings, circular imports."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType
from typing import Final

import etl

ROOT: Final = Path(etl.__file__).parent

NO_NOUN: Final = frozenset(
    ["as", "how", "see", "that", "what", "when", "where", "which", "who", "whom", "whose", "why"]
)
"""First words of a docstring that is neither a noun phrase nor an imperative."""


@cache
def modules() -> MappingProxyType[str, ast.Module]:
    """Return the syntax tree of each module, by its path in the package."""
    paths = sorted(ROOT.rglob("*.py"))
    return MappingProxyType(
        {path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes()) for path in paths}
    )


def test_a_public_class_name_means_one_thing_in_the_whole_package() -> None:
    places = defaultdict(list)
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path}:{node.lineno}")
    assert len(places) > 400
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_a_docstring_begins_with_a_noun_phrase_or_an_imperative() -> None:
    first = {place: text.split()[0].strip(".,:;`").lower() for place, text in docstrings()}
    assert len(first) > 2_000
    assert {place: word for place, word in first.items() if word in NO_NOUN} == {}


def test_no_two_modules_import_each_other() -> None:
    sorter = TopologicalSorter({path: imported(tree) for path, tree in modules().items()})
    assert len(list(sorter.static_order())) > 300  # raises CycleError, naming the modules


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and text of each docstring, those of constants and attributes included."""
    for path, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                for line in node.body:
                    if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
                        yield f"{path}:{line.lineno}", str(line.value.value)


def imported(tree: ast.Module) -> set[str]:
    """Return the modules of the package that a module imports when it is loaded or run.

    Names of a package's own `__init__` count as imports of it.
    """
    for_types = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in for_types:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {_path(name) or _path(node.module) for name in whole}
        elif isinstance(node, ast.Import):
            found |= {_path(alias.name) for alias in node.names}
    return found - {""}


def _path(name: str) -> str:
    base = name.removeprefix("etl.").replace(".", "/")
    return next((at for at in (f"{base}.py", f"{base}/__init__.py") if at in modules()), "")
