"""Assembly of the authorization server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from starlette.routing import Route

from etl.auth.apps import Apps
from etl.auth.audit import AuditTrail
from etl.auth.authorize import AuthorizePages
from etl.auth.configuration import AuthConfiguration, Clock, Randomness
from etl.auth.consents import Consents
from etl.auth.database import Database
from etl.auth.developers import Developers
from etl.auth.endpoints import ProgramEndpoints
from etl.auth.form_protection import Browsers
from etl.auth.lockout import Lockout
from etl.auth.mail import Mailer
from etl.auth.member_pages import MemberPages
from etl.auth.members import DemoSignIn, IsPublished, PatientOf, ProviderSignIn
from etl.auth.oauth import AccessTokens, GrantContext, IdTokens, Protocol, RefreshTokens
from etl.auth.pages import PageRenderer
from etl.auth.rate_limits import rates_of
from etl.auth.revocations import Revocations
from etl.auth.services import Services
from etl.auth.sessions import Sessions
from etl.auth.sign_in_links import SignInLinks
from etl.auth.signing_keys import Keys
from etl.auth.verifier import LocalVerifier
from etl.auth.yearly_numbers import forget_years
from etl.web.rate_limits import RateLimiter


def open_authorization(
    configuration: AuthConfiguration,
    database: Database,
    audit: Path,
    *,
    clock: Clock,
    randomness: Randomness,
    patient_of: PatientOf,
    is_published: IsPublished | None = None,
    rates: Mapping[str, str] | None = None,
    mailer: Mailer | None = None,
) -> Services:
    """Return the authorization server on a database that is migrated. Nothing runs yet.

    Args:
        configuration: how it is set up.
        database: the server's database; shared by all processes.
        audit: folder of the audit trail; each process writes files of its own there.
        clock: gives the present time, with its zone.
        randomness: gives unpredictable bytes.
        patient_of: member id → logical id of the Patient.
        rates: other limits than `etl.auth.rate_limits.RATES`.
        is_published: whether the served release has a Patient; where not given, no member is
            refused for having no data.
        mailer: sends mail to developers; None where no mail server is configured.
    """
    trail = AuditTrail(audit, database, clock=clock, randomness=randomness)
    revocations = Revocations(database, clock)
    keys = Keys(database, secret=configuration.secret, clock=clock, note=trail.note)
    verifier = LocalVerifier(configuration, keys, revocations, clock=clock)
    lockout = Lockout(database, clock)
    apps = Apps(
        database, configuration, revocations, clock=clock, randomness=randomness, note=trail.note
    )
    consents = Consents(database, revocations, clock=clock, randomness=randomness, note=trail.note)
    tools = GrantContext(
        configuration,
        database,
        consents,
        RefreshTokens(database, configuration, clock),
        clock,
        trail.note,
    )
    demo, provider = _sign_ins(configuration, lockout, patient_of, clock, trail)
    return Services(
        configuration=configuration,
        clock=clock,
        randomness=randomness,
        database=database,
        trail=trail,
        keys=keys,
        revocations=revocations,
        verifier=verifier,
        apps=apps,
        developers=Developers(database, clock=clock, randomness=randomness, note=trail.note),
        sign_in_links=SignInLinks(
            configuration, database, mailer, clock=clock, randomness=randomness
        ),
        consents=consents,
        sessions=Sessions(database, clock=clock, randomness=randomness),
        browsers=Browsers(configuration, randomness=randomness),
        lockout=lockout,
        limits=RateLimiter(rates_of(rates or {})),
        protocol=Protocol(
            tools,
            apps,
            AccessTokens(configuration, keys, clock=clock, randomness=randomness),
            IdTokens(configuration, keys, clock=clock),
            verifier,
        ),
        pages=PageRenderer(configuration),
        demo=demo,
        provider=provider,
        is_published=is_published or _anyone,
    )


async def _anyone(patient: str) -> bool:
    del patient
    return True


def _sign_ins(
    configuration: AuthConfiguration,
    lockout: Lockout,
    patient_of: PatientOf,
    clock: Clock,
    trail: AuditTrail,
) -> tuple[DemoSignIn | None, ProviderSignIn | None]:
    """Return where members sign in: at the identity provider, else in the demo directory."""
    identity_provider = configuration.identity_provider
    if identity_provider is not None:
        return None, ProviderSignIn(
            configuration, identity_provider, patient_of, clock=clock, note=trail.note
        )
    if configuration.demo is not None:
        return DemoSignIn(configuration, lockout, clock=clock, note=trail.note), None
    return None, None


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


def tidy(services: Services) -> None:
    """Delete what is over: sessions, codes, tokens, old failures, members' counts of old years.

    Call it periodically.
    """
    services.sessions.forget()
    services.lockout.forget()
    services.revocations.forget()
    services.consents.forget()
    forget_years(services.database, services.clock().date(), services.configuration.access_days)


def quiet_logs() -> None:
    """Keep libraries from writing tokens or URLs into the log, whatever level is configured."""
    for name in ("authlib", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
