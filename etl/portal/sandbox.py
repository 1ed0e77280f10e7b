"""Data of the sandbox members, from the served release: counts of claims, and a claim of each kind.

Names are those that the demo directory shows anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from etl.auth.records import DemoMember
from etl.errors import StoreError
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree, column_name
from etl.gateway.release.served_releases import Releases
from etl.portal.portal import SandboxMember

_CLAIM = "ExplanationOfBenefit"
_TYPES = frozenset({"institutional", "professional", "oral", "pharmacy"})
"""Types of claims that have profiles of their own; vision shares the professional one."""


class SandboxMembers:
    """Counts the claims and coverages of a demo directory's members, once for each release.

    Args:
        releases: the served releases.
        members: the demo directory.
        page_size: matches on a page of search results where `_count` is not given.
    """

    def __init__(self, releases: Releases, members: Sequence[DemoMember], page_size: int) -> None:
        self._releases = releases
        self._members = members
        self._page_size = page_size
        self._release = ""
        self._counts: tuple[SandboxMember, ...] = ()

    async def __call__(self) -> tuple[SandboxMember, ...]:
        """Return the members that the release has, in the directory's order.

        None are returned where nothing has been published yet or storage fails: the page says so.
        """
        try:
            tree = self._releases.current()
            if tree.id != self._release:
                counts = [await _count(tree, member, self._page_size) for member in self._members]
                self._counts = tuple(member for member in counts if member is not None)
                self._release = tree.id
        except StoreError:
            return ()
        return self._counts

    async def sample(self, kind: str) -> bytes | None:
        """Return the JSON of the first claim of a kind; None where no member has one."""
        try:
            tree = self._releases.current()
            for member in self._members:
                block = await tree.patient(member.patient)
                if block is None or block.index.block is None:
                    continue
                kinds = await _claim_types(tree, block)
                for row, claim_types in zip(block.rows(_CLAIM), kinds, strict=True):
                    if kind in claim_types:
                        return bytes((await tree.lines(block, [row]))[0])
        except StoreError:
            return None
        return None


async def _count(tree: ReleaseTree, member: DemoMember, page_size: int) -> SandboxMember | None:
    block = await tree.patient(member.patient)
    if block is None or block.index.block is None:
        return None
    kinds: Counter[str] = Counter()
    for claim_types in await _claim_types(tree, block):
        kinds.update(claim_types)
    on_one_page = kinds.keys() >= _TYPES and len(block.rows(_CLAIM)) <= page_size
    return SandboxMember(member, dict(kinds), len(block.rows("Coverage")), on_one_page)


async def _claim_types(tree: ReleaseTree, block: IndexedBlock) -> list[set[str]]:
    """Return the codes of `type` of each of a member's claims; none of a prior authorization."""
    await tree.need(block, [column_name(_CLAIM, "type"), column_name(_CLAIM, "use")])
    types, uses = block.values(_CLAIM, "type"), block.values(_CLAIM, "use")
    # An index holds `system|code`; the code is what developers search by.
    return [
        set()
        if any(value.endswith("|preauthorization") for value in uses.values_of(row))
        else {value.rpartition("|")[2] for value in types.values_of(row)}
        for row in range(len(block.rows(_CLAIM)))
    ]
