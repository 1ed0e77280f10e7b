"""The routes of the authorization server."""

from __future__ import annotations

import logging

from starlette.routing import Route

from etl.auth.authorize import AuthorizePages
from etl.auth.endpoints import ProgramEndpoints
from etl.auth.member_pages import MemberPages
from etl.auth.services import Services


def routes_of(services: Services) -> list[Route]:
    """Return all routes of the authorization server, with absolute paths.

    `/oauth/*`, `/member*`, `/.well-known/openid-configuration` and
    `/.well-known/oauth-authorization-server`.
    """
    return [
        *ProgramEndpoints(services).routes(),
        *AuthorizePages(services).routes(),
        *MemberPages(services).routes(),
    ]


def quiet_logs() -> None:
    """Keep libraries from writing tokens or URLs into the log, whatever level is configured."""
    for name in ("authlib", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
