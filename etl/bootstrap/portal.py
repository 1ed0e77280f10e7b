"""Build the developer portal, a room of the served process, from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount

from etl.auth.apps import Apps
from etl.auth.rate_limits import Endpoint
from etl.auth.records import NoSuchApp
from etl.auth.registration import ATTESTATIONS, AppDraft
from etl.auth.services import Services
from etl.bootstrap.served_rooms import ServedRoom, ServerDescription
from etl.bootstrap.settings import Settings
from etl.gateway.service import PAGE_LIMIT
from etl.gateway.startup import GatewayServices
from etl.gateway.supported_fhir import api_of
from etl.model.data_models import CLAIMS, DATA_MODELS, DIRECTORY, FORMULARY
from etl.portal.app import portal_app
from etl.portal.drug_search import DrugSearch
from etl.portal.portal import Portal
from etl.portal.provider_search import ProviderSearch
from etl.portal.rendering import open_templates
from etl.portal.sandbox import SandboxMembers
from etl.portal.site_facts import PublicApi, ServerFacts, Site, duration_text
from etl.portal.site_file import read_site_file

TRY_CLIENT: Final = "portal-try-it"
"""Client id of the public app behind `/try`, in a sandbox."""


def portal_room(
    settings: Settings,
    description: ServerDescription,
    services: Services,
    served: GatewayServices,
) -> ServedRoom:
    """Return the portal's routes and lifespan.

    Args:
        settings: as `served_app.prepared` returns them.
        description: documents that the server publishes about itself.
        served: the gateway's releases, for the sandbox's list of members and the directory search.

    Raises:
        MappingError: `config-value`: a file or folder of the settings is missing.
    """
    site = site_of(settings, sandbox=services.configuration.sandbox)
    demo = services.configuration.demo
    sandbox = (
        None
        if demo is None
        else SandboxMembers(served.releases, demo.members, settings.serve.page_size)
    )
    portal = Portal(
        site=site,
        served=served_of(settings, description, services),
        services=services,
        templates=open_templates(site.file.look.templates),
        started=services.clock(),
        targets={api_of(target.model).title: target.releases for target in served.targets},
        members=sandbox,
        sample=None if sandbox is None else sandbox.sample,
        password="" if demo is None else demo.password,
        try_client=TRY_CLIENT if site.sandbox else "",
        providers=_provider_search(settings, served),
        drugs=_drug_search(settings, served),
    )

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if portal.try_client:
            await run_in_threadpool(_register_try_app, services.apps, portal)
        yield

    return ServedRoom((Mount("/", app=portal_app(portal)),), lifespan)


def site_of(settings: Settings, *, sandbox: bool) -> Site:
    """Return the portal's branding and texts.

    Raises:
        MappingError: `config-value`: a file or folder is missing, or `portal.toml` is wrong.
    """
    file = read_site_file(settings.portal.file)
    return Site(settings.payer.name, file, sandbox, settings.portal.reports)


_LIMITED: Final[Mapping[Endpoint, str]] = MappingProxyType(
    {
        "authorize": "Launches",
        "sign-in": "Sign-ins of members",
        "token": "Calls of the token endpoint by one app",
    }
)
"""Limits of the authorization server that developers are shown."""


def served_of(
    settings: Settings, description: ServerDescription, services: Services
) -> ServerFacts:
    """Return the running server's facts for the pages."""
    serve, auth = settings.serve, services.configuration
    limits = {}
    if serve.rate_limit:
        limits["Requests"] = f"{serve.rate_limit.replace('/', ' a ')}, of one app for one member"
    for endpoint, label in _LIMITED.items():
        if rate := services.limits.rates[endpoint]:
            limits[label] = f"{rate.replace('/', ' a ')}, of one address"
    return ServerFacts(
        base_url=serve.base_url,
        fhir=f"{serve.base_url}{CLAIMS.path}",
        smart=description.smart or {},
        capability=description.statements[CLAIMS.path],
        public={
            api.name: PublicApi(api.title, f"{serve.base_url}{path}", description.statements[path])
            for api, path in ((api_of(model), model.path) for model in DATA_MODELS)
            if api.is_public and path in description.statements
        },
        code_seconds=auth.code_seconds,
        consent_terms=tuple(duration_text(days * 86_400) for days in sorted(auth.consent_days)),
        page_default=serve.page_size,
        page_most=PAGE_LIMIT,
        limits=limits,
    )


def _provider_search(settings: Settings, served: GatewayServices) -> ProviderSearch | None:
    directory = served.serving(DIRECTORY)
    if directory is None:
        return None
    base = f"{settings.serve.base_url}{DIRECTORY.path}"
    return ProviderSearch(directory.service, directory.releases, base, settings.publish.cadence)


def _drug_search(settings: Settings, served: GatewayServices) -> DrugSearch | None:
    target = served.serving(FORMULARY)
    if target is None:
        return None
    return DrugSearch(target.service, target.releases, f"{settings.serve.base_url}{FORMULARY.path}")


def _register_try_app(apps: Apps, portal: Portal) -> None:
    """Register the app behind `/try`, or correct its registration."""
    base = urlsplit(portal.served.base_url)
    draft = AppDraft(
        name="Try it",
        organization=portal.site.title,
        description="The page of this portal that shows a launch step by step.",
        client_type="public",
        authentication="none",
        redirect_uris=(portal.served.try_page,),
        # A URI of this portal; the registry requires https, which a local portal does not have.
        policy_uri=portal.site.file.links.privacy or f"https://{base.hostname}/contact",
        contact_name=portal.site.file.contact.name or portal.site.payer,
        contact_email=portal.site.file.contact.email or "portal@example.org",
        attestations=tuple(ATTESTATIONS),
    )
    try:
        if apps.get(TRY_CLIENT).draft != draft:
            apps.edit(TRY_CLIENT, draft)
    except NoSuchApp:
        with suppress(IntegrityError):  # another worker was first
            apps.register(draft, origin="operator", client_id=TRY_CLIENT)
