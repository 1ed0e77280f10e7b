"""A portal on a real authorization server, with what a gateway would say of itself."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from starlette.applications import Starlette

from etl.auth.endpoints import smart_configuration
from etl.auth.mail import Mail
from etl.auth.records import DemoMember
from etl.auth.services import Services
from etl.gateway.capability import StatementFacts, capability_statement
from etl.gateway.supported_fhir import TYPES, api_of
from etl.model.data_models import CLAIMS
from etl.portal.app import portal_app
from etl.portal.portal import Portal, SandboxMember
from etl.portal.rendering import open_templates
from etl.portal.site_facts import PublicApi, ServerFacts, Site
from etl.portal.site_file import Contact, Links, SiteFile
from tests.integration.auth.standing import BASE, FHIR
from tests.integration.auth.standing import stand_up as auth_server

CONTACT = Contact(
    name="API team",
    email="api@alder.example",
    phone="+1 617 555 0100",
    hours="Monday to Friday, 9 to 5 Eastern",
    security_email="security@alder.example",
)
SITE = Site("Alder Health Plan", SiteFile(contact=CONTACT))
LINKS = Links(sandbox="https://sandbox.api.example")
PRODUCTION = replace(SITE, file=SiteFile(contact=CONTACT, links=LINKS), sandbox=False)


@dataclass(frozen=True, slots=True)
class ServedPortal:
    """A portal and what is behind it.

    Attributes:
        portal: its parts.
        app: the application.
        services: the authorization server.
        audit: folder of the audit trail.
        sent: mail that was sent, in production.
    """

    portal: Portal
    app: Starlette
    services: Services
    audit: Path
    sent: list[Mail] = field(default_factory=list)

    def actions(self):
        """Return what the audit trail says was done, and by whom."""
        (file,) = self.audit.iterdir()
        events = map(json.loads, file.read_bytes().splitlines())
        return [(one["subtype"][0]["code"], one["agent"][0]["type"]["text"]) for one in events]


async def _members():
    return [
        SandboxMember(DemoMember("ana", "Ana Muñoz Peña", "p1"), {"pharmacy": 12, "oral": 2}, 3),
        SandboxMember(DemoMember("jurgen", "Jürgen Müller", "p2"), {"institutional": 1}, 1, True),
    ]


async def _sample(kind):
    return b'{"resourceType":"ExplanationOfBenefit","total":[{"amount":{"value":12.50}}]}'


@contextmanager
def stand_up(folder, *, site=SITE, mailer=None, clock=lambda: datetime.now(UTC), most_apps=20):
    """Give a portal whose registry is in a folder; in production it sends mail."""
    sent = []
    if not site.sandbox:
        mailer = mailer or sent.append
    configured = {"texts": site.texts, "sandbox": site.sandbox, "most_apps": most_apps}
    with auth_server(folder, clock=clock, mailer=mailer, **configured) as standing:
        portal = portal_of(site, standing.services, clock())
        yield ServedPortal(portal, portal_app(portal), standing.services, folder / "audit", sent)


def portal_of(site, services, started):
    """Return the parts of a portal on an authorization server."""
    smart = smart_configuration(services.configuration)
    facts = StatementFacts(FHIR, site.payer, "0.1.0", "2026-01-31", smart)

    def capability():
        return capability_statement(api_of(CLAIMS), facts, TYPES.values())

    return Portal(
        site=site,
        served=ServerFacts(
            base_url=BASE,
            fhir=FHIR,
            smart=smart,
            capability=capability,
            public={
                name: PublicApi(title, f"{BASE}/{path}", capability)
                for name, title, path in (
                    ("provider-directory", "Provider Directory API", "directory"),
                    ("drug-formulary", "Drug Formulary API", "formulary"),
                )
            },
            consent_terms=("90 days", "30 days", "a year"),
            limits={"Requests": "600 a minute for each app and member"},
        ),
        services=services,
        templates=open_templates(site.file.look.templates),
        started=started,
        members=_members if site.sandbox else None,
        sample=_sample if site.sandbox else None,
        password="alder",  # noqa: S106 - public
        try_client="portal-try-it" if site.sandbox else "",
    )
