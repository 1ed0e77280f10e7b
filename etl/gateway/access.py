"""Access control: the types and the member's data that a grant opens.

A type outside the scopes is refused with 403. Another member's resource is answered as one that
does not exist, so that ids cannot be probed. `_include` returns only types with `read` in the
scopes; types left out for that are named in the answer.
"""

from __future__ import annotations

from functools import lru_cache

from etl.gateway.refusals import Refusal
from etl.gateway.supported_fhir import ResourceType
from etl.smart import scopes as smart_scopes
from etl.smart.grants import Grant


def may(grant: Grant, resource_type: str, interaction: smart_scopes.Interaction) -> bool:
    """Return whether a grant's scopes open an interaction with a type."""
    return _may(grant.scopes, resource_type, interaction)


def require(grant: Grant, kind: ResourceType, interaction: smart_scopes.Interaction) -> None:
    """Refuse what is outside the scopes.

    Raises:
        Refusal: 403.
    """
    if not _may(grant.scopes, kind.name, interaction):
        wanted = f"patient/{kind.name}.{interaction}"
        raise Refusal(403, "forbidden", f"the token has no scope for this: it needs {wanted}")


@lru_cache(maxsize=4096)
def _may(
    scopes: tuple[str, ...], resource_type: str, interaction: smart_scopes.Interaction
) -> bool:
    return smart_scopes.allows(scopes, resource_type, interaction)
