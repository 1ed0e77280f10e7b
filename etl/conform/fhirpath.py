"""Invariants as FHIRPath, evaluated by fhirpathpy: the one home of that library.

It has neither `memberOf` nor `resolve`, `hasValue` and `htmlChecks`: they are given to it here. An
empty answer counts as kept, only `false` as broken (FHIR R4, ElementDefinition.constraint).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import fhirpathpy
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from etl.conform.codes import member_of
from etl.conform.narrative import is_narrative
from etl.conform.references import resolved_type
from etl.model.profiles import value_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.conform.visit import Holds


def holds(expression: str, path: str, version: str) -> Holds:
    """Return the test of an invariant.

    Args:
        expression: FHIRPath.
        path: of the element it is about, so that the library knows types and choices.
        version: of the guide, whose value sets `memberOf` means.
    """

    def test(value: Any, root: dict[str, Any]) -> bool:
        node = _node(value, path)
        around = {"resource": root, "rootResource": root, "context": node}
        try:
            answer = _compiled(expression, version)(node, around)
        except Exception:  # the library raises bare ones, on input whose structure is wrong
            return True
        return bool(answer != [False])

    return test


@cache
def _compiled(expression: str, version: str) -> Callable[[Any, Any], list[Any]]:
    functions = {
        "memberOf": {"fn": _member_of(version), "arity": {1: ["String"]}},
        "resolve": {"fn": _resolve, "arity": {0: []}},
        "hasValue": {"fn": _has_value, "arity": {0: []}},
        "htmlChecks": {"fn": _html_checks, "arity": {0: []}},
    }
    options = {"userInvocationTable": functions, "traceFn": lambda *_: None}
    compiled: Callable[[Any, Any], list[Any]] = fhirpathpy.compile(
        expression, models["r4"], options
    )
    return compiled


def _node(value: Any, path: str) -> Any:
    make: Callable[..., Any] = ResourceNode.create_node
    return make(value, path)


def _plain(node: Any) -> Any:
    return node.data if isinstance(node, ResourceNode) else node


def _member_of(version: str) -> Callable[[Any, list[Any], str], list[bool]]:
    def member(context: Any, nodes: list[Any], url: str) -> list[bool]:
        del context
        if not nodes:
            return []
        values = value_set(url, version)
        return [member_of(values, _plain(nodes[0])) is not False]

    return member


def _resolve(context: Any, nodes: list[Any]) -> list[Any]:
    root = _plain(context["vars"]["rootResource"])
    types = (resolved_type(_plain(node), root) for node in nodes)
    return [_node({"resourceType": kind}, kind) for kind in types if kind]


def _has_value(context: Any, nodes: list[Any]) -> list[bool]:
    del context
    return [len(nodes) == 1 and isinstance(_plain(nodes[0]), str | int | float)]


def _html_checks(context: Any, nodes: list[Any]) -> list[bool]:
    del context
    return [is_narrative(_plain(node)) for node in nodes]
