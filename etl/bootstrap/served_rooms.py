"""Rooms of the served process, and the documents that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


@dataclass(frozen=True, slots=True)
class ServedRoom:
    """Routes and lifespan of another room of the process.

    Attributes:
        routes: in the order in which they are tried; a mount at `/` goes last.
        lifespan: runs while the server does; None for none.
    """

    routes: tuple[BaseRoute, ...] = ()
    lifespan: Callable[[], AbstractAsyncContextManager[None]] | None = None


@dataclass(frozen=True, slots=True)
class ServerDescription:
    """Documents that the server publishes about itself, for the portal.

    Attributes:
        base_url: scheme, host and port.
        statements: of each API that is served: the path of its base, and what returns the
            CapabilityStatement for the served release.
        smart: the SMART configuration; None if there is no authorization server.
    """

    base_url: str
    statements: Mapping[str, Callable[[], dict[str, Any]]]
    smart: Mapping[str, Any] | None
