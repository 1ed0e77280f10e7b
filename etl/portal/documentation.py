"""Documentation pages: home, the APIs, the quickstart, the sandbox, examples, contact."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from etl.errors import StoreError
from etl.portal.capability_tables import HOLDS, read_statement
from etl.portal.data_dictionary import DataDictionary, Elements
from etl.portal.drug_search import DrugQuery
from etl.portal.examples import FILES, LOOPBACK, SCOPE, directory_examples, example_file
from etl.portal.portal import CHANGES, Portal, SandboxMember
from etl.portal.provider_search import DISTANCES, DoctorQuery
from etl.portal.site_facts import Json, PublicApi
from etl.publish.canonical_json import instant

CLAIM_KINDS: Final = ("institutional", "professional", "pharmacy", "oral", "vision")
"""Codes of `ExplanationOfBenefit.type`, in the order in which the sandbox shows them."""

_REPORT_NAME: Final = re.compile(
    r"(?P<kind>prior-auth|api-use)-(?P<year>[0-9]{4})(?P<ending>\.json|\.csv)?"
)
"""Names of yearly numbers that are public, as `cpcds report … --post` writes them."""
_REPORT_TYPES: Final = {".json": "application/json", ".csv": "text/csv"}


def documentation_routes(portal: Portal) -> list[Route]:
    """Return the pages that anyone may read."""
    pages = _Pages(portal)
    return [
        Route("/", pages.guide),
        Route("/patient-access", pages.guide),
        Route("/provider-directory", pages.provider_directory),
        Route("/{api}/capability", pages.capability),
        Route("/{api}/capability.json", pages.capability_download),
        Route("/drug-formulary", pages.drug_formulary),
        Route("/find-a-doctor", pages.find_a_doctor),
        Route("/find-a-drug", pages.find_a_drug),
        Route("/data-dictionary", pages.data_dictionary),
        Route("/data-dictionary/{type}", pages.data_dictionary),
        Route("/quickstart", pages.guide),
        Route("/examples/{name}", pages.example),
        Route("/sandbox", pages.sandbox),
        Route("/code", pages.code),
        Route("/try", pages.show_try_page),
        Route("/samples", pages.sample),
        Route("/samples/{kind}", pages.sample),
        Route("/status", pages.status),
        Route("/changes", pages.static_page),
        Route("/changes.atom", pages.changes_feed),
        Route("/contact", pages.static_page),
        Route("/your-data", pages.your_data),
        Route("/public-reporting", pages.public_reporting),
        Route("/public-reporting/{name}", pages.public_report),
    ]


class _Pages:
    """The pages. The content of each is in a template."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal
        self._dictionary = DataDictionary(portal.targets.values())

    async def guide(self, request: Request) -> Response:
        """Show a page with code examples; the path names its template."""
        template = request.url.path.strip("/").replace("-", "_") or "home"
        return await self._portal.show(
            request,
            template,
            capability=self._portal.statement(),
            examples=await self._portal.examples(request),
            loopback=LOOPBACK,
            files=tuple(FILES),
            redirect_uris=self._portal.redirect_uris,
        )

    async def static_page(self, request: Request) -> Response:
        """Show a page whose template, named by the path, needs no values."""
        template = request.url.path.strip("/").replace("-", "_")
        return await self._portal.show(request, template, versions=CHANGES)

    async def your_data(self, request: Request) -> Response:
        pages = self._portal.services.pages
        site = replace(self._portal.site, language=pages.language_of(request))
        links = pages.links(request)
        return await self._portal.show(request, "your_data", site=site, languages=links)

    async def changes_feed(self, _request: Request) -> Response:
        portal = self._portal
        feed = portal.templates.get_template("changes.atom.j2")
        text = feed.render(site=portal.site, served=portal.served, versions=CHANGES)
        response = Response(text, media_type="application/atom+xml")
        portal.protect(response, no_store=False)
        return response

    async def data_dictionary(self, request: Request) -> Response:
        await self._portal.limit(request, "find")  # a long table takes time to render
        elements: Elements = {}
        is_readable = True
        try:
            elements = await self._dictionary.elements()
        except StoreError:
            is_readable = False
        types = sorted(elements, key=lambda name: [*HOLDS, name].index(name))
        resource = request.path_params.get("type", next(iter(types), ""))
        if resource not in types and "type" in request.path_params and is_readable:
            raise HTTPException(404)
        return await self._portal.show(
            request,
            "data_dictionary",
            status=200 if is_readable else 503,
            is_readable=is_readable,
            types=types,
            type=resource,
            rows=elements.get(resource, ()),
        )

    async def provider_directory(self, request: Request) -> Response:
        portal, api = self._portal, self._public("provider-directory")
        example = None if portal.providers is None else await portal.providers.example()
        return await portal.show(
            request,
            "provider_directory",
            api=api,
            directory=read_statement(api.capability()),
            examples=directory_examples(api.base, example),
            published=None if portal.providers is None else portal.providers.published(),
            files=() if portal.providers is None else portal.providers.files(),
            brand=portal.served.smart.get("user_access_brand_bundle", ""),
        )

    async def drug_formulary(self, request: Request) -> Response:
        api = self._public("drug-formulary")
        statement = read_statement(api.capability())
        return await self._portal.show(request, "drug_formulary", api=api, statement=statement)

    async def find_a_doctor(self, request: Request) -> Response:
        providers = self._portal.providers
        if providers is None:
            raise HTTPException(404)
        await self._portal.limit(request, "find")
        query = DoctorQuery.of(request.query_params)
        return await self._portal.show(
            request,
            "find_a_doctor",
            query=query,
            choices=await providers.choices(),
            distances=DISTANCES,
            found=None if query.is_empty else await providers.find(query),
        )

    async def find_a_drug(self, request: Request) -> Response:
        drugs = self._portal.drugs
        if drugs is None:
            raise HTTPException(404)
        await self._portal.limit(request, "find")
        query = DrugQuery.of(request.query_params)
        return await self._portal.show(
            request,
            "find_a_drug",
            query=query,
            plans=await drugs.plans(),
            found=None if query.is_empty else await drugs.find(query),
        )

    async def capability(self, request: Request) -> Response:
        api, document = self._statement(request)
        return await self._portal.show(
            request,
            "capability",
            capability=read_statement(document),
            document=json.dumps(document, indent=2, ensure_ascii=False),
            api=self._portal.menu[f"/{api}"],
            path=f"/{api}",
        )

    async def capability_download(self, request: Request) -> Response:
        api, document = self._statement(request)
        headers = {"content-disposition": f'attachment; filename="{api}-capability.json"'}
        response = JSONResponse(dict(document), headers=headers, media_type="application/fhir+json")
        self._portal.protect(response, no_store=False)
        return response

    def _statement(self, request: Request) -> tuple[str, Json]:
        """Return the API of a path, and its CapabilityStatement."""
        api = str(request.path_params["api"])
        if api == "patient-access":
            return api, self._portal.served.capability()
        return api, self._public(api).capability()

    async def example(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in FILES:
            raise HTTPException(404)
        text = example_file(name, self._portal.served, self._portal.redirect_uris[0])
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        response = PlainTextResponse(text, headers=headers, media_type=FILES[name])
        self._portal.protect(response, no_store=False)
        return response

    async def sandbox(self, request: Request) -> Response:
        members, kinds = await self._sandbox_members()
        return await self._portal.show(
            request,
            "sandbox",
            members=members,
            kinds=kinds,
            password=self._portal.password,
            test_kit_members=[member.member.username for member in members if member.on_one_page],
        )

    async def _sandbox_members(self) -> tuple[Sequence[SandboxMember], list[str]]:
        """Return the sandbox members, and the kinds of claims they have."""
        read_members = self._portal.members
        if not self._portal.site.sandbox or read_members is None:
            raise HTTPException(404)
        members = await read_members()
        return members, [kind for kind in CLAIM_KINDS if any(m.claims.get(kind) for m in members)]

    async def code(self, request: Request) -> Response:
        if not self._portal.site.sandbox:
            raise HTTPException(404)
        query = request.query_params
        names = ("code", "state", "error", "error_description")
        values = {name: query.get(name, "")[:2000] for name in names}
        return await self._portal.show(request, "code", no_store=True, answer=values)

    async def show_try_page(self, request: Request) -> Response:
        """Show the page on which a developer signs in and tries the APIs."""
        return await self._portal.show(
            request,
            "try",
            no_store=True,
            client_id=self._portal.try_client,
            scope=SCOPE,
            capability=self._portal.statement(),
            public={
                name: (api, read_statement(api.capability()))
                for name, api in self._portal.served.public.items()
            },
        )

    async def sample(self, request: Request) -> Response:
        _, kinds = await self._sandbox_members()
        kind = request.path_params.get("kind", next(iter(kinds), ""))
        sample = self._portal.sample
        claim = await sample(kind) if sample is not None and kind in kinds else None
        if claim is None:
            raise HTTPException(404)
        return await self._portal.show(
            request,
            "sample",
            kind=kind,
            kinds=kinds,
            claim=msgspec.json.format(claim).decode(),  # as published: no number is read
        )

    async def status(self, request: Request) -> Response:
        portal = self._portal
        served = {name: releases.served for name, releases in portal.targets.items()}
        return await portal.show(
            request,
            "status",
            no_store=True,
            now=portal.services.clock(),
            started=portal.started,
            targets=served,
            created={name: instant(r.created) for name, r in served.items() if r.created},
            software=portal.statement().document["software"],
        )

    async def public_reporting(self, request: Request) -> Response:
        posted: dict[str, list[str]] = {}
        for file in sorted(self._reports_folder().glob("*.json"), reverse=True):
            if report := _REPORT_NAME.fullmatch(file.name):
                posted.setdefault(report["kind"], []).append(report["year"])
        return await self._portal.show(request, "public_reporting", posted=posted)

    async def public_report(self, request: Request) -> Response:
        name = request.path_params["name"]
        report = _REPORT_NAME.fullmatch(name)
        file = self._reports_folder() / (name if report and report["ending"] else f"{name}.json")
        if report is None or not file.is_file():
            raise HTTPException(404)
        if report["ending"]:
            response = FileResponse(file, media_type=_REPORT_TYPES[report["ending"]])
            self._portal.protect(response, no_store=False)
            return response
        await self._portal.limit(request, "find")  # a long list takes time to render
        numbers = json.loads(file.read_bytes())
        return await self._portal.show(
            request, report["kind"].replace("-", "_"), numbers=numbers, name=name
        )

    def _reports_folder(self) -> Path:
        folder = self._portal.site.reports
        if folder is None:
            raise HTTPException(404)
        return folder

    def _public(self, name: str) -> PublicApi:
        api = self._portal.served.public.get(name)
        if api is None:
            raise HTTPException(404)
        return api
