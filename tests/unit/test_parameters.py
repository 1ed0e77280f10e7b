"""Functions of the pipeline: as many parameters as can be read at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import etl

ROOT = Path(etl.__file__).parent
MOST = 6


def public_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Yield the public functions and methods of a module; `__init__` and `__call__` are public."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from public_functions(child)
        elif isinstance(child, ast.FunctionDef):
            name = child.name
            if not name.startswith("_") or name in ("__init__", "__call__"):
                yield child


def parameters(function: ast.FunctionDef) -> int:
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    return len([each for each in every if each.arg not in ("self", "cls")])


@pytest.mark.parametrize("room", ["pipeline", "local"])
def test_no_public_function_of_a_room_takes_more_than_six_parameters(room: str) -> None:
    seen, many = 0, []
    for path in sorted((ROOT / room).rglob("*.py")):
        for function in public_functions(ast.parse(path.read_bytes())):
            seen += 1
            if parameters(function) > MOST:
                many.append(f"{path.relative_to(ROOT)}:{function.lineno} {function.name}")
    assert seen > 10
    assert many == []
