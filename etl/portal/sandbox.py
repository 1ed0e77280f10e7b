"""What each member of a sandbox has, read from the search indexes of the release that is served.

Only kinds of claims are counted. Names are those that the demo directory shows anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from etl.auth.values import DemoMember
from etl.errors import StoreError
from etl.gateway.releases import Releases
from etl.gateway.tree import Tree, column_name
from etl.portal.portal import SandboxMember

_CLAIM = "ExplanationOfBenefit"


class SandboxMembers:
    """Counts once a release what the members of a demo directory have.

    Args:
        releases: what is served.
        members: the demo directory.
    """

    def __init__(self, releases: Releases, members: Sequence[DemoMember]) -> None:
        self._releases = releases
        self._members = members
        self._release = ""
        self._counted: tuple[SandboxMember, ...] = ()

    async def __call__(self) -> tuple[SandboxMember, ...]:
        """Return the members that the release has, in the directory's order.

        Nobody is returned where nothing was published yet or storage fails: the page says so.
        """
        try:
            tree = self._releases.current()
            if tree.id != self._release:
                counted = [await _counted(tree, member) for member in self._members]
                self._counted = tuple(one for one in counted if one is not None)
                self._release = tree.id
        except StoreError:
            return ()
        return self._counted


async def _counted(tree: Tree, member: DemoMember) -> SandboxMember | None:
    block = await tree.patient(member.patient)
    if block is None or block.index.block is None:
        return None
    await tree.need(block, [column_name(_CLAIM, "type")])
    kinds: Counter[str] = Counter()
    column = block.values(_CLAIM, "type")
    for row in range(len(block.rows(_CLAIM))):
        # An index holds `system|code`; the code is what developers search by.
        kinds.update({value.rpartition("|")[2] for value in column.of(row)})
    return SandboxMember(member, dict(kinds), len(block.rows("Coverage")))
