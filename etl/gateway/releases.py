"""Which release is served, and those that cursors are pinned to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Served:
    """What is served now, for readiness and metrics.

    Attributes:
        release: id of the release; None before the first was seen.
        created: FHIR instant of the run that made it; None likewise.
        seen: seconds since the pointer was last read with success; None where it never was.
        failures: how many times in a row it could not be read since then.
    """

    release: str | None
    created: str | None
    seen: float | None
    failures: int


class Releases:
    """The current release, renewed while `watch` runs."""

    @property
    def served(self) -> Served:
        """What is served now."""
        raise NotImplementedError

    async def refresh(self) -> bool:
        """Look at the pointer once; return whether another release is served now.

        Raises:
            StoreError: storage failed; what was served still is.
        """
        raise NotImplementedError

    async def watch(self, stop: asyncio.Event) -> None:
        """Look again every few seconds until `stop` is set; storage errors are counted, not raised."""
        raise NotImplementedError
