"""Changes to a member's data since an instant: `$everything?_since=…`.

Releases are compared by content, not by date: a claim dated last year and published today is
new, and a resource that a rollback removed is named as retracted. See docs/decisions/0020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from etl.errors import NotFound
from etl.gateway import compartment
from etl.gateway.bundle import Note
from etl.gateway.fhir_errors import KINDS, SYSTEM
from etl.gateway.includes import Hit, ReferenceResolver, referenced
from etl.gateway.release_reader import ReleaseTree
from etl.gateway.served_releases import Releases
from etl.gateway.supported_fhir import TYPES
from etl.smart.grants import Grant

_SECTIONS: Final = ("ids", "parts", "versions", "lastUpdated")
_GONE: Final = "resource-deleted"


Mark = tuple[str, str]
"""Version and time of a resource: an app's copy is valid while both are unchanged."""


@dataclass(frozen=True, slots=True)
class MemberChanges:
    """Changes that bring an app's copy up to date.

    Attributes:
        hits: resources to add or replace, by `Type/id`: the member's own first.
        gone: `Type/id` of the resources to delete.
        is_whole: whether these are all resources, because there is no release to compare with.
    """

    hits: dict[str, Hit]
    gone: Sequence[str]
    is_whole: bool

    def notes(self) -> list[Note]:
        """Return its outcome issues: one for each resource that is gone."""
        lines = [
            Note(
                "deleted",
                f"{name} is gone: drop it",
                "information",
                {
                    "coding": [{"system": SYSTEM, "code": _GONE, "display": KINDS[_GONE].display}],
                    "text": name,
                },
            )
            for name in self.gone
        ]
        if self.is_whole:
            lines.append(
                Note(
                    "incomplete",
                    "_since lies before the oldest release that is kept, or compared: this is "
                    "everything there is; drop what is not in it",
                )
            )
        return lines


async def difference(
    releases: Releases, tree: ReleaseTree, grant: Grant, request: compartment.EverythingRequest
) -> MemberChanges:
    """Return what changed since the instant of `_since`, compared with the release given.

    An instant may stand for several releases. A resource that was added and removed, or changed
    and changed back, in between is in neither the first nor the last of them, so all are compared.
    """
    assert request.since is not None  # noqa: S101 - the caller looked
    try:
        previous = [
            await _reached(release, grant, request)
            for release in await releases.since(tree, request.since)
        ]
    except NotFound:  # pruned meanwhile
        previous = []
    present = await _reached(tree, grant, request)
    if not previous:
        own = await tree.patient(grant.patient)
        if own is not None:
            await tree.need(own, ("gone",))
        gone = [
            f"{gone.type}/{gone.id}"
            for gone in (own.index.gone if own is not None else ())
            if grant.may(gone.type, "r") and request.wants(gone.type)
        ]
        return MemberChanges({name: hit for name, (hit, _) in present.items()}, gone, True)
    hits = {
        name: hit
        for name, (hit, mark) in present.items()
        if any(_mark(marks, name) != mark for marks in previous)
    }
    missing = [name for name in dict.fromkeys(chain.from_iterable(previous)) if name not in present]
    # A directory resource that still exists but is no longer referred to is not reported.
    left = await ReferenceResolver(tree, grant, None).hits(
        name for name in missing if TYPES[name.partition("/")[0]].shared
    )
    return MemberChanges(hits, [name for name in missing if name not in left], False)


def _mark(marks: dict[str, tuple[Hit, Mark]], name: str) -> Mark | None:
    entry = marks.get(name)
    return None if entry is None else entry[1]


async def _reached(
    tree: ReleaseTree,
    grant: Grant,
    request: compartment.EverythingRequest,
) -> dict[str, tuple[Hit, Mark]]:
    """Return all that `$everything` gives in a release without `_since`, each with its mark."""
    own = await tree.patient(grant.patient)
    hits: dict[str, Hit] = {}
    if own is None:
        return {}
    await tree.need(own, (*compartment.SECTIONS, *_SECTIONS))
    own_types = [name for name in compartment.OWN if grant.may(name, "r")]
    rows = compartment.rows_of(own, request, own_types)
    for name in own_types:
        if request.wants(name):
            of_type = own.rows(name)
            hits |= {f"{name}/{own.index.ids[row]}": (own, row) for row in rows if row in of_type}
    chosen = frozenset(rows)
    for name, kind in TYPES.items():
        if kind.shared and request.wants(name) and grant.may(name, "r"):
            references = sorted(await referenced(tree, own, name, chosen))
            hits |= await ReferenceResolver(tree, grant, None).hits(references, _SECTIONS)
    return {name: (hit, _mark_of(hit)) for name, hit in hits.items()}


def _mark_of(hit: Hit) -> Mark:
    block, row = hit
    (stamp,) = block.index.last_updated.values_of(row)
    return block.index.versions[row], stamp
