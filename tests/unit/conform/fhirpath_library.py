"""Invariants as FHIRPath, evaluated by fhirpathpy: the judge of our own constraints.

It lacks `memberOf`, `resolve`, `hasValue` and `htmlChecks`, and its `extension` gives one where an
element has several of a URL: they are added here. An empty answer counts as kept, only `false` as
broken (FHIR R4, ElementDefinition.constraint).
"""

from __future__ import annotations

from contextvars import ContextVar
from decimal import Decimal
from functools import cache

import fhirpathpy
from fhirpathpy.engine.nodes import ResourceNode
from fhirpathpy.models import models

from etl.conform.codes import member_of
from etl.conform.json_elements import resolved_type
from etl.conform.narrative import is_narrative
from etl.profiles.value_sets import value_set

_ROOT = ContextVar("root")
"""The current resource: `resolve` needs it, and the library passes functions only their input."""


def answer(expression, path, guide, value, root):
    """Return what the library makes of an expression about a value of a resource."""
    node = ResourceNode.create_node(value, path)
    around = {"resource": root, "rootResource": root, "context": node}
    token = _ROOT.set(root)
    try:
        return _compiled(expression, guide)(node, around)
    finally:
        _ROOT.reset(token)


@cache
def _compiled(expression, guide):
    functions = {
        "memberOf": {"fn": _member_of(guide), "arity": {1: ["String"]}},
        "resolve": {"fn": _resolve, "arity": {0: []}},
        "hasValue": {"fn": _has_value, "arity": {0: []}},
        "htmlChecks": {"fn": _html_checks, "arity": {0: []}},
        "extension": {"fn": _extension, "arity": {1: ["String"]}},
    }
    options = {"userInvocationTable": functions, "traceFn": lambda *_: None}
    return fhirpathpy.compile(expression, models["r4"], options)


def _member_of(guide):
    def member(values, url):
        return [member_of(value_set(url, guide), value) is not False for value in values[:1]]

    return member


def _resolve(values):
    types = (resolved_type(value, _ROOT.get()) for value in values)
    return [ResourceNode.create_node({"resourceType": kind}, kind) for kind in types if kind]


def _has_value(values):
    return [len(values) == 1 and isinstance(values[0], str | int | float | Decimal)]


def _html_checks(values):
    return [is_narrative(value) for value in values]


def _extension(values, url):
    """Return all extensions of a URL (FHIR R4, FHIRPath: `extension(url)`)."""
    return [
        ResourceNode.create_node(extension, "Extension")
        for value in values
        if isinstance(value, dict)
        for extension in value.get("extension", ())
        if extension["url"] == url
    ]
