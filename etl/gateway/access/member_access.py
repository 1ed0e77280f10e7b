"""Access control: the types and the member's data that a grant opens.

A type outside the scopes is refused with 403. Another member's resource is answered as one that
does not exist, so that ids cannot be probed. `_include` returns only types with `read` in the
scopes; types left out for that are named in the answer.

Some claims name a provider by an id that is a tax or social security number. Only members whose
own resources refer to such a provider may read it; providers with an NPI, or with a row in the
extract's directory, are open to every member.
"""

from __future__ import annotations

from typing import Final

from etl.gateway.bundle.includes import Hit, find_referenced
from etl.gateway.http.responses import FhirError, challenge
from etl.gateway.release.release_reader import ReleaseTree, column_name
from etl.gateway.supported_fhir import ResourceType
from etl.publish.block import LISTED, NAMED, ROW
from etl.smart.grants import Grant
from etl.smart.scopes import Interaction

_IDENTIFIER: Final = "identifier"
_NPI: Final = "http://hl7.org/fhir/sid/us-npi|"
_OPEN_TO_MEMBERS: Final = frozenset({ROW, NAMED})
_NAMED_BY_CLAIMS: Final = frozenset({"Organization", "Practitioner"})
"""Types that claims name by an id; the other shared types come from rows of the directory."""


def require(grant: Grant, kind: ResourceType, interaction: Interaction) -> None:
    """Refuse what is outside the scopes.

    Raises:
        FhirError: 403.
    """
    if not grant.may(kind.name, interaction):
        text = f"the token has no scope for this: it needs patient/{kind.name}.{interaction}"
        raise FhirError("scope-insufficient", text, (challenge("insufficient_scope"),))


async def may_read(tree: ReleaseTree, grant: Grant, hit: Hit, kind: ResourceType) -> bool:
    """Return whether a resource is open to a grant: the member's own, or a provider."""
    block, row = hit
    if not kind.shared or kind.name not in _NAMED_BY_CLAIMS:
        return True
    names = (_IDENTIFIER, LISTED)
    await tree.need(block, [column_name(kind.name, name) for name in names])
    row_of_type = row - block.rows(kind.name).start
    identifiers, reasons = (block.values(kind.name, name).values_of(row_of_type) for name in names)
    if not _OPEN_TO_MEMBERS.isdisjoint(reasons) or any(
        identifier.startswith(_NPI) for identifier in identifiers
    ):
        return True
    member = await tree.patient(grant.patient)
    return f"{kind.name}/{block.index.ids[row]}" in await find_referenced(tree, member, kind.name)


def answers_deleted(kind: ResourceType) -> bool:
    """Return whether deleted resources of a type are answered 410, unlike unknown ids.

    Not if some resources of the type are hidden: the release no longer says which of the deleted
    ones were.
    """
    return kind.name not in _NAMED_BY_CLAIMS
