"""What holds for every test: it can fail, and it waits for facts and not for time."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parents[1]
ASSERTING: Final = {"raises", "warns", "fail"}
"""Calls of pytest that fail by themselves."""

PAUSES: Final = {
    "waiting.py": "polls, for all others",
    "e2e/test_connections.py": "a client that is idle, or sends a byte now and then",
    "fault/test_killed.py": "a random moment to be killed at",
    "fault/test_killed_runs.py": "a random moment to be killed at",
    "soak/apps.py": "how often an app asks",
    "soak/faulty_proxy.py": "storage that is slow or hangs",
    "soak/test_soak.py": "how often something breaks",
    "virtual_time.py": "takes no time",
}
"""Modules that let time pass because it is what they are about."""
STOPWATCHES: Final = {"perf_counter", "perf_counter_ns", "process_time", "timeit"}

KEEPING: Final = {"sorted", "enumerate", "zip", "list", "tuple", "set", "reversed", "product"}
"""Calls that make something of as many entries, or as empty, as what they are given."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Values = dict[str, ast.expr]


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


def values_of(body: ast.Module | Function) -> Values:
    """Return what names stand for that a module or function sets as a whole."""
    nodes = ast.iter_child_nodes(body) if isinstance(body, ast.Module) else ast.walk(body)
    values: Values = {}
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                values[name] = value
            case _:
                pass
    return values


def cases_of(function: Function) -> Values:
    """Return arguments that `parametrize` or hypothesis fills: a case stands for itself."""
    names = set[str]()
    for decorator in function.decorator_list:
        for name, call in calls(decorator):
            if name == "parametrize":
                names |= set(re.findall(r"\w+", ast.unparse(call.args[0])))
            elif name == "given":
                names |= {argument.arg for argument in function.args.args}
    return {name: ast.Constant(name) for name in names}


def filled(node: ast.expr, values: Values) -> bool:
    """Whether a loop over this runs for certain, as far as the text of the test says."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return any(
                not isinstance(part, ast.Starred) or filled(part.value, values) for part in parts
            )
        case ast.Dict():
            return bool(node.keys)
        case ast.Constant():
            return bool(node.value)
        case ast.Name():
            rest = {name: value for name, value in values.items() if name != node.id}
            return node.id in values and filled(values[node.id], rest)
        case ast.Call(func=ast.Name(id="range")):
            return all(filled(bound, values) for bound in node.args[:2][-1:])
        case ast.Call(func=ast.Name(id="zip"), keywords=[ast.keyword(arg="strict")]):
            return any(filled(part, values) for part in node.args)
        case ast.Call(func=ast.Name(id=name)) if name in KEEPING:
            return all(filled(part, values) for part in node.args)
        case ast.Call(func=ast.Attribute(value=whole, attr="items" | "keys" | "values")):
            return filled(whole, values)
        case ast.BinOp(op=ast.Add() | ast.BitOr()):
            return filled(node.left, values) or filled(node.right, values)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            return all(filled(one.iter, values) and not one.ifs for one in node.generators)
        case _:
            return False


def drained(node: ast.expr, values: Values) -> bool:
    """Whether a comprehension has no entries as soon as what it goes through has none."""
    match node:
        case ast.Name() if node.id in values:
            rest = {name: value for name, value in values.items() if name != node.id}
            return drained(values[node.id], rest)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            return not all(filled(one.iter, values) for one in node.generators)
        case _:
            return False


def idle(test: ast.expr, values: Values) -> bool:
    """Whether an assertion holds of nothing: `all(…)`, `not any(…)`, `[…] == []`."""
    match test:
        case (
            ast.Call(func=ast.Name(id="all"), args=[inner])
            | ast.UnaryOp(op=ast.Not(), operand=ast.Call(func=ast.Name(id="any"), args=[inner]))
            | ast.UnaryOp(op=ast.Not(), operand=inner)
            | ast.Compare(left=inner, ops=[ast.Eq()], comparators=[
                ast.List(elts=[]) | ast.Dict(keys=[]) | ast.Call(func=ast.Name(id="set"), args=[])
            ])
        ):  # fmt: skip
            return drained(inner, values)
        case ast.BoolOp(op=ast.And()):
            return all(idle(part, values) for part in test.values)
        case _:
            return False


def certain(node: ast.AST, values: Values, asserting: Set[str]) -> bool:
    """Whether a statement asserts something, however empty the things that it goes through."""

    def within(nodes: Sequence[ast.AST]) -> bool:
        return any(certain(inner, values, asserting) for inner in nodes)

    match node:
        case ast.Assert():
            return not idle(node.test, values)
        case ast.For() | ast.AsyncFor():
            return within([node.iter, *node.orelse]) or (
                filled(node.iter, values) and within(node.body)
            )
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Lambda():
            return False
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in asserting:
            return True
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            return all(filled(one.iter, values) for one in node.generators) and within(
                list(ast.iter_child_nodes(node))
            )
        case _:
            return within(list(ast.iter_child_nodes(node)))


def asserts(path: str, function: Function, asserting: Set[str]) -> bool:
    values = values_of(modules()[path]) | values_of(function) | cases_of(function)
    return any(certain(node, values, asserting) for node in function.body)


@cache
def asserting() -> set[str]:
    """Return names of functions that assert something for certain, or call one that does."""
    found = set(ASSERTING)
    rest = [(path, one) for path, one in functions() if not one.name.startswith("test_")]
    while more := {
        one.name for path, one in rest if one.name not in found and asserts(path, one, found)
    }:
        found |= more
    return found


def test_every_test_asserts_something_whatever_it_goes_through() -> None:
    """An assertion in a loop over nothing has never been made."""
    tests = [(path, one) for path, one in functions() if one.name.startswith("test_")]
    assert len(tests) > 1000
    idle_tests = [
        f"{path}: {one.name}" for path, one in tests if not asserts(path, one, asserting())
    ]
    assert idle_tests == []


def test_no_assertion_holds_whatever_happens() -> None:
    assert len(modules()) > 100
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
    assert len(modules()) > 100
    assert [path for path, module in modules().items() if stopwatch in dict(calls(module))] == []
