"""References: targets by their text, and contained resources."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

_LITERAL: Final = re.compile(
    r"(?:(?P<base>https?://\S+)/)?(?P<type>[A-Z][A-Za-z]+)/(?P<id>[A-Za-z0-9\-.]{1,64})"
    r"(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)
"""A relative or absolute RESTful reference (FHIR R4, References): [base/]Type/id[/_history/v]."""

_CONDITIONAL: Final = re.compile(r"(?:https?://\S+/)?(?P<type>[A-Z][A-Za-z]+)\?\S+")
"""A search instead of an id (FHIR R4, transactions): [base/]Type?parameters."""


@lru_cache(maxsize=262_144)
def target_of(reference: str) -> tuple[str, str] | None:
    """Return type and id that a literal reference names; None for `#…`, `urn:…` and the like."""
    match = _LITERAL.fullmatch(reference)
    return (match["type"], match["id"]) if match else None


def is_local(reference: str) -> bool:
    """Whether it points into the same resource (contained), or to the resource itself."""
    return reference.startswith("#")


def resolved_type(reference: Any, root: dict[str, Any]) -> str | None:
    """Return the type of resource that a Reference points to, or None if that is unknown.

    It is taken from the reference's text, the contained resource it names, or `Reference.type`,
    which a logical reference has beside its identifier.
    """
    if type(reference) is not dict:
        return None
    text = reference.get("reference")
    if type(text) is str:
        if is_local(text):
            return _contained_type(text[1:], root)
        target = target_of(text)
        if target is not None:
            return target[0]
        search = _CONDITIONAL.fullmatch(text)
        if search is not None:
            return search["type"]
    return stated_type(reference)


def stated_type(reference: dict[str, Any]) -> str | None:
    """Return the type of resource that `Reference.type` states, as a name or a canonical."""
    stated = reference.get("type")
    return stated.rpartition("/")[2] if type(stated) is str else None


def _contained_type(local_id: str, root: dict[str, Any]) -> str | None:
    if local_id == "":
        kind = root.get("resourceType")
        return kind if type(kind) is str else None
    contained = root.get("contained")
    for resource in contained if type(contained) is list else ():
        if type(resource) is dict and resource.get("id") == local_id:
            kind = resource.get("resourceType")
            return kind if type(kind) is str else None
    return None
