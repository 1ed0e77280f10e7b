"""Services of the authorization server, for its routes and the portal."""

from __future__ import annotations

from dataclasses import dataclass

from etl.auth.apps import Apps
from etl.auth.audit import AuditTrail
from etl.auth.configuration import AuthConfiguration, Clock, Randomness
from etl.auth.consents import Consents
from etl.auth.database import Database
from etl.auth.developers import Developers
from etl.auth.form_protection import Browsers
from etl.auth.lockout import Lockout
from etl.auth.members import DemoSignIn, IsPublished, ProviderSignIn
from etl.auth.oauth import Protocol
from etl.auth.pages import PageRenderer
from etl.auth.revocations import Revocations
from etl.auth.sessions import Sessions
from etl.auth.sign_in_links import SignInLinks
from etl.auth.signing_keys import Keys
from etl.auth.verifier import LocalVerifier
from etl.web.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the authorization server, each with one task; made by `open_authorization`."""

    configuration: AuthConfiguration
    clock: Clock
    randomness: Randomness
    database: Database
    trail: AuditTrail
    keys: Keys
    revocations: Revocations
    verifier: LocalVerifier
    apps: Apps
    developers: Developers
    sign_in_links: SignInLinks
    consents: Consents
    sessions: Sessions
    browsers: Browsers
    lockout: Lockout
    limits: RateLimiter
    protocol: Protocol
    pages: PageRenderer
    demo: DemoSignIn | None
    provider: ProviderSignIn | None
    is_published: IsPublished
