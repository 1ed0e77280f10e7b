"""Changes to a member's data since a release: `$everything?_since=…`.

Two releases are compared by content, not by date: a claim dated last year and published today is
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
from etl.gateway.includes import Hit, ReferenceResolver, referenced
from etl.gateway.operation_outcomes import KINDS, SYSTEM
from etl.gateway.refusals import Refusal
from etl.gateway.release_reader import ReleaseTree
from etl.gateway.served_releases import Releases
from etl.gateway.supported_fhir import TYPES
from etl.smart.grants import Grant

_SECTIONS: Final = ("ids", "parts", "versions", "lastUpdated")
_GONE: Final = "resource-deleted"
_ANEW: Final = "begin anew: drop your copy and call $everything without _since"


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
    """Return what changed from the releases that `_since` names to the one given.

    Raises:
        Refusal: 410, the named release is no longer kept.
    """
    readable = seen(tree, grant).types
    olds: list[dict[str, tuple[Hit, Mark]]] = []
    if isinstance(request.since, compartment.SeenRelease):
        try:
            base = await releases.earlier(request.since.release)
            # Types that the app could not read then are new to it.
            olds = [await _reached(base, grant, request, readable & request.since.types)]
        except NotFound:
            raise Refusal(
                410, "expired", f"the release of _since is not kept any more; {_ANEW}"
            ) from None
    elif request.since is not None:
        olds = await _reached_since(releases, tree, grant, request, readable)
    new = await _reached(tree, grant, request, readable)
    if not olds:
        own = await tree.patient(grant.patient)
        if own is not None:
            await tree.need(own, ("gone",))
        gone = [
            f"{gone.type}/{gone.id}"
            for gone in (own.index.gone if own is not None else ())
            if gone.type in readable and request.wants(gone.type)
        ]
        return MemberChanges({name: hit for name, (hit, _) in new.items()}, gone, True)
    hits = {
        name: hit
        for name, (hit, mark) in new.items()
        if any(_mark(old, name) != mark for old in olds)
    }
    missing = [name for name in dict.fromkeys(chain.from_iterable(olds)) if name not in new]
    # A directory resource that still exists but is no longer referred to is not reported.
    left = await ReferenceResolver(tree, grant, None).hits(
        name for name in missing if TYPES[name.partition("/")[0]].shared
    )
    return MemberChanges(hits, [name for name in missing if name not in left], False)


async def _reached_since(
    releases: Releases,
    tree: ReleaseTree,
    grant: Grant,
    request: compartment.EverythingRequest,
    readable: frozenset[str],
) -> list[dict[str, tuple[Hit, Mark]]]:
    """Return what an app may have seen at an instant, of each release that it may have seen it in.

    An instant does not determine one release, and a resource added and removed, or changed and
    changed back, in between is in neither the first nor the last.
    """
    assert isinstance(request.since, int)  # noqa: S101 - the caller looked
    try:
        return [
            await _reached(release, grant, request, readable)
            for release in await releases.since(tree, request.since)
        ]
    except NotFound:  # pruned meanwhile
        return []


def _mark(marks: dict[str, tuple[Hit, Mark]], name: str) -> Mark | None:
    entry = marks.get(name)
    return None if entry is None else entry[1]


def seen(tree: ReleaseTree, grant: Grant) -> compartment.SeenRelease:
    """Return what an app's scopes let it see of a release."""
    return compartment.SeenRelease(
        tree.id, frozenset(name for name in TYPES if grant.may(name, "r"))
    )


async def _reached(
    tree: ReleaseTree,
    grant: Grant,
    request: compartment.EverythingRequest,
    readable: frozenset[str],
) -> dict[str, tuple[Hit, Mark]]:
    """Return all that `$everything` gives in a release without `_since`, each with its mark."""
    own = await tree.patient(grant.patient)
    hits: dict[str, Hit] = {}
    if own is None:
        return {}
    await tree.need(own, (*compartment.SECTIONS, *_SECTIONS))
    own_types = [name for name in compartment.OWN if name in readable]
    rows = compartment.rows_of(own, request, own_types)
    for name in own_types:
        if request.wants(name):
            of_type = own.rows(name)
            hits |= {f"{name}/{own.index.ids[row]}": (own, row) for row in rows if row in of_type}
    chosen = frozenset(rows)
    for name, kind in TYPES.items():
        if kind.shared and request.wants(name) and name in readable:
            references = sorted(await referenced(tree, own, name, chosen))
            hits |= await ReferenceResolver(tree, grant, None).hits(references, _SECTIONS)
    return {name: (hit, _mark_of(hit)) for name, hit in hits.items()}


def _mark_of(hit: Hit) -> Mark:
    block, row = hit
    (stamp,) = block.index.last_updated.values_of(row)
    return block.index.versions[row], stamp
