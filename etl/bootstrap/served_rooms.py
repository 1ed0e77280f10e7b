"""Rooms of the served process, and the paths and documents that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from starlette.routing import BaseRoute  # runs share the paths, and do without the server

FHIR: Final = "/fhir"
DIRECTORY: Final = "/directory"


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
        capability: returns the served release's CapabilityStatement of Patient Access.
        directory: returns that of the Provider Directory; None if it is not served.
        smart: the SMART configuration; None if there is no authorization server.
    """

    base_url: str
    capability: Callable[[], dict[str, Any]]
    directory: Callable[[], dict[str, Any]] | None
    smart: Mapping[str, Any] | None
