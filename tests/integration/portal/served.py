"""A portal with a real registry behind it, and a server's own documents made up around it."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from etl.auth.apps import Apps
from etl.auth.configuration import AuthConfiguration
from etl.auth.database import Database, open_database
from etl.auth.database_tables import Base
from etl.auth.developers import Developers
from etl.auth.form_protection import Browsers
from etl.auth.mail import Mail, Mailer
from etl.auth.rate_limits import RATES
from etl.auth.records import DemoMember, Happening
from etl.auth.revocations import Revocations
from etl.auth.sessions import Sessions
from etl.auth.sign_in_links import SignInLinks
from etl.gateway.supported_fhir import TYPES
from etl.portal.app import portal_app
from etl.portal.portal import Portal, SandboxMember
from etl.portal.rendering import open_templates
from etl.portal.sessions import PortalSessions
from etl.portal.site_facts import Contact, ServerFacts, Site
from etl.web.rate_limits import RateLimiter
from etl.web.texts import PageTexts

BASE = "https://api.example"


def smart() -> dict[str, Any]:
    return {
        "issuer": BASE,
        "authorization_endpoint": f"{BASE}/oauth/authorize",
        "token_endpoint": f"{BASE}/oauth/token",
        "revocation_endpoint": f"{BASE}/oauth/revoke",
        "introspection_endpoint": f"{BASE}/oauth/introspect",
    }


def capability() -> dict[str, Any]:
    """A statement with one resource of a kind; the gateway's own is tested where it is made."""
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": "2026-01-31",
        "kind": "instance",
        "software": {"name": "CPCDS Blue Button", "version": "0.1.0"},
        "fhirVersion": "4.0.1",
        "format": ["json", "application/fhir+json"],
        "instantiates": ["http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb"],
        "implementationGuide": [
            "http://hl7.org/fhir/us/carin-bb/ImplementationGuide/hl7.fhir.us.carin-bb|2.2.0"
        ],
        "rest": [
            {
                "mode": "server",
                "security": {
                    "description": "SMART App Launch",
                    "extension": [
                        {
                            "url": "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris",
                            "extension": [
                                {"url": "authorize", "valueUri": f"{BASE}/oauth/authorize"},
                                {"url": "token", "valueUri": f"{BASE}/oauth/token"},
                            ],
                        }
                    ],
                },
                "resource": [
                    {
                        "type": one.name,
                        "documentation": one.documentation,
                        "supportedProfile": list(one.profiles),
                        "interaction": [{"code": code} for code in one.interactions],
                        "searchInclude": [include.code for include in one.includes],
                        "searchParam": [
                            {
                                "name": parameter.name,
                                "type": parameter.type,
                                "documentation": parameter.documentation,
                            }
                            for parameter in one.parameters.values()
                        ],
                    }
                    for one in TYPES.values()
                ],
            }
        ],
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """A portal and what is behind it.

    Attributes:
        portal: its parts.
        app: the application.
        happenings: what went into the audit trail.
        database: for those who look behind the curtain.
        sent: mail that was sent, in production.
    """

    portal: Portal
    app: Starlette
    happenings: list[Happening]
    database: Database
    sent: list[Mail] = field(default_factory=list)


SITE = Site(
    texts=PageTexts("Alder Health Plan"),
    contact=Contact(
        name="API team",
        email="api@alder.example",
        phone="+1 617 555 0100",
        hours="Monday to Friday, 9 to 5 Eastern",
        security_email="security@alder.example",
    ),
    member_page="/member",
)


async def _members() -> list[SandboxMember]:
    return [
        SandboxMember(DemoMember("ana", "Ana Muñoz Peña", "p1"), {"pharmacy": 12, "oral": 2}, 3),
        SandboxMember(DemoMember("jurgen", "Jürgen Müller", "p2"), {"institutional": 1}, 1, True),
    ]


def stand_up(
    folder: Path,
    *,
    site: Site = SITE,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    base: str = BASE,
    mailer: Mailer | None = None,
    most_apps: int = 20,
) -> Standing:
    """Return a portal whose registry is in a folder; in production it sends mail."""
    sent: list[Mail] = []
    if mailer is None and not site.sandbox:
        mailer = sent.append
    database = open_database(f"sqlite:///{folder / 'auth.db'}")
    Base.metadata.create_all(database.engine)
    happenings: list[Happening] = []
    configuration = AuthConfiguration(
        base_url=base,
        texts=site.texts,
        secret=b"of tests only",
        sandbox=site.sandbox,
        most_apps=most_apps,
    )
    developers = Developers(
        database,
        clock=clock,
        randomness=secrets.token_bytes,
        note=happenings.append,
    )
    apps = Apps(
        database,
        configuration,
        Revocations(database, clock),
        clock=clock,
        randomness=secrets.token_bytes,
        note=happenings.append,
    )
    sessions = Sessions(database, clock=clock, randomness=secrets.token_bytes)
    browsers = Browsers(configuration, randomness=secrets.token_bytes)
    portal = Portal(
        site=site,
        served=ServerFacts(
            base_url=base,
            fhir=f"{base}/fhir",
            directory=f"{base}/directory",
            smart=smart,
            capability=capability,
            directory_capability=capability,
            token_seconds=600,
            consent_terms=("90 days", "30 days", "a year"),
            limits={"Requests": "600 a minute for each app and member"},
        ),
        apps=apps,
        developers=developers,
        links=SignInLinks(
            configuration, database, mailer, clock=clock, randomness=secrets.token_bytes
        ),
        limits=RateLimiter(RATES),
        entrance=PortalSessions(browsers, sessions, developers),
        templates=open_templates(site.templates),
        members=_members if site.sandbox else None,
        password="alder",  # noqa: S106 - public
        try_client="portal-try-it" if site.sandbox else "",
    )
    return Standing(portal, portal_app(portal), happenings, database, sent)


def in_production(site: Site = SITE) -> Site:
    return replace(site, sandbox=False, sandbox_url="https://sandbox.api.example")
