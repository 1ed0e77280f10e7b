"""The data dictionary of what is served: the elements of each type of resource, and their columns.

Each run writes the dictionary of its mappings beside its release (`docs/published-tree.md`): the
served process loads no mappings, and a payer's own are in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from etl.gateway.release.served_releases import Releases
from etl.publish import object_keys
from etl.publish.kept_objects import ObjectRef

Elements = Mapping[str, Sequence[Mapping[str, Any]]]
"""Type of resource → rows of the dictionary, by path."""


class DataDictionary:
    """Reads the dictionaries of some targets, once for each version.

    Args:
        targets: the releases that are served.
    """

    def __init__(self, targets: Iterable[Releases]) -> None:
        self._targets = tuple(targets)
        self._cache: tuple[list[ObjectRef], Elements] = ([], {})

    async def elements(self) -> Elements:
        """Return the rows; none if no release that is served has a dictionary.

        Raises:
            StoreError: nothing was published, or a dictionary cannot be read.
        """
        trees = [releases.current() for releases in self._targets]
        sources = [
            (tree, ref)
            for tree in trees
            for ref in tree.manifest.facts.reports
            if ref.key.startswith(object_keys.DICTIONARY)
        ]
        refs = [ref for _, ref in sources]
        if refs != self._cache[0]:
            elements: dict[str, list[Mapping[str, Any]]] = {}
            for tree, ref in sources:
                for row in json.loads(await tree.whole(ref.key, ref.sha256))["rows"]:
                    elements.setdefault(row["type"], []).append(row)
            self._cache = refs, elements
        return self._cache[1]
