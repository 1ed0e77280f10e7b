"""What holds for every test: it can fail, and it waits for facts and not for time."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
ASSERTING: Final = {"raises", "warns", "fail"}
"""Calls of pytest that fail by themselves."""

PAUSES: Final = {
    "waiting.py": "polls, for all others",
    "contract/async_storage/fake_s3.py": "a server that does not answer",
    "e2e/test_connections.py": "a client that is idle, or sends a byte now and then",
    "fault/test_faulty_storage.py": "apps that come again, releases that appear",
    "fault/test_killed.py": "a random moment to be killed at",
    "fault/test_killed_runs.py": "a random moment to be killed at",
    "soak/apps.py": "how often an app asks",
    "soak/faulty_proxy.py": "storage that is slow or hangs",
    "soak/test_soak.py": "how often something breaks",
    "unit/gateway/faulty.py": "storage that is slow",
    "unit/gateway/test_http.py": "work that does not end",
    "unit/gateway/test_rate_limits.py": "work that takes its time",
    "unit/storage/test_open_store.py": "a store that is slow",
}
"""Modules that let time pass because it is what they are about."""
STOPWATCHES: Final = {"perf_counter", "perf_counter_ns", "process_time", "timeit"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Return what is in every module of the tests, by its path."""
    paths = sorted(TESTS.rglob("*.py"))
    return {
        path.relative_to(TESTS).as_posix(): ast.parse(path.read_text("utf-8")) for path in paths
    }


def functions() -> Iterator[tuple[str, Function]]:
    """Yield every function and method with the path of its module."""
    for path, module in modules().items():
        for node in ast.walk(module):
            if isinstance(node, Function):
                yield path, node


def calls(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in a node with the last word of what is called."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            called = inner.func
            if isinstance(called, ast.Name | ast.Attribute):
                yield called.id if isinstance(called, ast.Name) else called.attr, inner


def called_by(function: Function) -> set[str]:
    return {name for name, _ in calls(function)}


@cache
def asserting() -> set[str]:
    """Return names of functions that assert something, or call one that does."""
    found = set(ASSERTING)
    rest = dict[str, list[Function]]()
    for _, function in functions():
        if any(isinstance(node, ast.Assert) for node in ast.walk(function)):
            found.add(function.name)
        else:
            rest.setdefault(function.name, []).append(function)
    while more := {
        name
        for name, those in rest.items()
        if name not in found and any(called_by(one) & found for one in those)
    }:
        found |= more
    return found


def test_every_test_asserts_something() -> None:
    tests = [(path, one) for path, one in functions() if one.name.startswith("test_")]
    assert len(tests) > 1000
    idle = [
        f"{path}: {one.name}"
        for path, one in tests
        if not any(isinstance(node, ast.Assert) for node in ast.walk(one))
        and not called_by(one) & asserting()
    ]
    assert idle == []


def test_no_assertion_holds_whatever_happens() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, module in modules().items()
        for node in ast.walk(module)
        if isinstance(node, ast.Assert)
        and (isinstance(node.test, ast.Tuple) or getattr(node.test, "value", None) is True)
    ]
    assert found == []


def test_time_passes_in_listed_modules_alone() -> None:
    """A turn of the event loop, `sleep(0)`, is no time."""
    found = {
        path
        for path, module in modules().items()
        for name, call in calls(module)
        if name == "sleep" and ast.unparse(call.args[0]) != "0"
    }
    assert found == PAUSES.keys()


@pytest.mark.parametrize("stopwatch", sorted(STOPWATCHES))
def test_no_test_takes_the_time_which_is_for_benchmarks(stopwatch: str) -> None:
    assert [path for path, module in modules().items() if stopwatch in dict(calls(module))] == []
