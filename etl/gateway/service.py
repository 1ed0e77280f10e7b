"""The gateway without HTTP: read, search, page and `$everything`, for one verified grant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, Final, Literal, NamedTuple

from etl.errors import NotFound, StoreError
from etl.gateway.access.member_access import answers_deleted, may_read, require
from etl.gateway.bundle import everything
from etl.gateway.bundle.bundle import Entries, Note, head_of, searchset, subset, types_of
from etl.gateway.bundle.everything import EverythingRequest, difference
from etl.gateway.bundle.includes import Hit, ReferenceResolver, find_relevant
from etl.gateway.bundle.paging import Position, Sealer, first_page_url, make_etag
from etl.gateway.http.request import LONGEST
from etl.gateway.http.responses import FhirError
from etl.gateway.http.time_limits import LongWork
from etl.gateway.release.release_reader import IndexedBlock, ReleaseTree
from etl.gateway.release.served_releases import Releases
from etl.gateway.search.evaluation import find_matches, needed_sections, sort_hits
from etl.gateway.search.parsing import UnsupportedParameters, parse, parse_shape
from etl.gateway.search.query import Query
from etl.gateway.supported_fhir import TYPES, ResourceType, answerable
from etl.publish.catalog import ID
from etl.smart.grants import Grant

_REMEMBERED: Final = 512
"""Size of the cache of parsed searches."""

_SUBSET_SIZE: Final = 10_000
"""Cost of parsing a resource and cutting it down, in the unit of `LongWork`."""

_FEW: Final = 4
"""Size of the cache of types by index columns: releases seldom differ in them."""

Parameters = Sequence[tuple[str, str]]
"""Names and values, decoded, in order."""

_Columns = tuple[frozenset[str] | None, ...]
"""Index columns of each type, as `ReleaseTree.columns` gives them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A Bundle of type searchset, or a resource that was read.

    Attributes:
        body: its JSON, without line break.
        last_updated: FHIR instant for Last-Modified: at which the release of a Bundle was made, or
            `meta.lastUpdated` of a resource.
        release: id of a Bundle's release; empty for a resource.
        etag: weak entity tag, as in the header (`W/"…"`): equal for the same search, grant and
            release; of a resource its `meta.versionId`.
        types: resource types in it, included ones too; sorted.
    """

    body: bytes
    last_updated: str | None
    release: str
    etag: str
    types: tuple[str, ...]


class _Question(NamedTuple):
    """A parsed search.

    Attributes:
        query: the query.
        columns: the index sections that it reads.
        url: URL of its first page.
    """

    query: Query
    columns: Sequence[str]
    url: str


class PageRequest(NamedTuple):
    """A requested page.

    Attributes:
        tree: the release that it comes from.
        grant: the caller's grant.
        position: position of the page.
        base: the FHIR base URL.
        url: URL of the page.
    """

    tree: ReleaseTree
    grant: Grant
    position: Position
    base: str
    url: str


PAGE_LIMIT: Final = 100
"""Maximum page size, in matches."""


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """Options of a service. All have defaults.

    Attributes:
        cache_bytes: size of the cache of reads, in bytes.
        poll_seconds: time between two reads of `current.json`.
        page_size: matches per page without `_count`; ten are one part of a block.
        page_limit: maximum page size, and the page size of `$everything`.
        cursor_seconds: how long a page link works.
        read_attempts: tries of one read before storage counts as failed.
        deadline_seconds: time limit for all tries of one read together.
    """

    cache_bytes: int = 64 * 1024 * 1024
    poll_seconds: float = 5.0
    page_size: int = 10
    page_limit: int = PAGE_LIMIT
    cursor_seconds: int = 24 * 3600
    read_attempts: int = 3
    deadline_seconds: float = 10.0


class Service:
    """FHIR read and search over the releases of one tree.

    Every method takes the current release once, at its start, and answers from it alone. Every
    method may raise `FhirError`, and `StoreError` if storage failed or no release was read yet; the
    HTTP part answers the latter with 503 and Retry-After.

    The HTTP part does not pass `_format` and `_pretty` (they are ignored). For a `POST _search` it
    passes the parameters of body and URL together, in order; `strict` is whether the client sent
    `Prefer: handling=strict`. `base` is the FHIR base URL without a slash at its end. Page links
    are `{base}/_page/{cursor}`, answered by `page`.

    Args:
        releases: the served releases.
        sealer: makes and opens page links.
        options: sizes of pages.
        kinds: the API's resource types.
    """

    is_public: ClassVar[bool] = False
    """Whether all data is open to everyone; searches then follow references as well: chains, `_has`
    and `_revinclude`."""

    def __init__(
        self,
        releases: Releases,
        sealer: Sealer,
        options: ServiceOptions,
        kinds: Mapping[str, ResourceType] = TYPES,
    ) -> None:
        self._kinds = kinds
        self._releases = releases
        self._sealer = sealer
        self._options = options
        self._long_work = LongWork()
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._parse_search)
        self._every_kind = tuple(self._kinds.values())
        self._answerable = lru_cache(maxsize=_FEW)(
            lambda columns, version: tuple(
                answerable(kind, of_type, version)
                for kind, of_type in zip(kinds.values(), columns, strict=True)
            )
        )

    def kinds(self) -> tuple[ResourceType, ...]:
        """Return the types with the parameters that the current release can be searched by.

        The same tuple as long as these are unchanged; before the first release, all parameters.
        """
        try:
            tree = self._releases.current()
        except StoreError:
            return self._every_kind
        version = tree.manifest.facts.mapping.get("version", "")
        return self._answerable(self._columns(tree), str(version))

    async def read(
        self,
        grant: Grant,
        resource_type: str,
        resource_id: str,
        parameters: Parameters = (),
        *,
        version: str = "",
        strict: bool = False,
    ) -> Answer:
        """Return one resource, or the elements of it that `_elements` and `_summary` ask for.

        Args:
            grant: the caller's grant.
            resource_type: the type.
            resource_id: logical id.
            parameters: names and values.
            version: the requested version; empty for the current one.
            strict: whether unsupported parameters are refused.

        Raises:
            FhirError: 404 missing or another member's (indistinguishable), an unsupported type, or
                another version, since only the current one is kept; 403 outside the scopes; 410 it
                was retracted; 400 a parameter is invalid.
        """
        tree = self._releases.current()
        kind = self._kind(resource_type)
        require(grant, kind, "r")
        summary, elements = (
            parse_shape(kind, parameters, strict=strict) if parameters else ("false", ())
        )
        block = None
        if ID.fullmatch(resource_id):
            block = await (
                tree.shard_of(resource_type, resource_id)
                if kind.shared
                else tree.patient(grant.patient)
            )
        if block is None:
            raise _missing(kind)
        await tree.need(block, ("parts", "ids"))
        row = block.index.row_of(resource_type, resource_id)
        if row is None:
            is_told = self.is_public or answers_deleted(kind)
            if is_told and await _is_gone(tree, block, resource_type, resource_id):
                raise FhirError("resource-deleted", f"this {resource_type} was retracted")
            raise _missing(kind)
        if not (self.is_public or await may_read(tree, grant, (block, row), kind)):
            raise _missing(kind)
        (line,) = await tree.lines(block, (row,))
        head = head_of(line)
        if (head.type, head.id) != (resource_type, resource_id):
            raise tree.damaged(block)
        if version not in ("", head.version):
            raise FhirError("not-found", "no such version; the present one alone is kept")
        if summary != "false" or elements:
            line = subset(line, kind.name, summary, elements)
        etag = f'W/"{head.version}"'
        return Answer(bytes(line), head.last_updated, "", etag, (resource_type,))

    async def search(
        self,
        grant: Grant,
        resource_type: str,
        parameters: Parameters,
        *,
        base: str,
        strict: bool,
        within: str | None = None,
    ) -> Answer:
        """Return the first page of a search.

        Args:
            grant: the caller's grant.
            resource_type: the searched type.
            parameters: names and values.
            base: the FHIR base URL.
            strict: whether unsupported parameters are refused.
            within: id of the Patient whose compartment is searched; None for none.

        Raises:
            FhirError: 400 a value is invalid, or (`strict`) a parameter not supported; 403 outside
                the scopes; 404 an unsupported type, or no such Patient.
        """
        tree = self._releases.current()
        kind = self._kind(resource_type)
        require(grant, kind, "s")
        if within not in (None, grant.patient):
            raise _missing(TYPES["Patient"])
        pairs = tuple(parameters)
        is_short = sum(len(value) for pair in pairs for value in pair) <= LONGEST
        parse_search = self._remembered if is_short else self._parse_search
        path = kind.name if within is None else f"Patient/{within}/{kind.name}"
        columns = self._columns(tree)
        question = parse_search(kind.name, pairs, base, strict, tree.now, path, columns)
        position = Position("search", kind.name, question.query.used, 0, tree.id, tree.digest)
        return await self._answer_search(
            PageRequest(tree, grant, position, base, question.url), question
        )

    async def page(
        self,
        grant: Grant,
        cursor: str,
        parameters: Parameters = (),
        *,
        base: str,
        strict: bool = False,
    ) -> Answer:
        """Return the page of a link from an earlier answer, from the same release.

        Raises:
            FhirError: 400 the link was changed, or is another client's or member's, or (`strict`)
                it has further parameters; 410 it is too old, or its release was pruned; 403 the
                scopes are no longer sufficient.
        """
        unsupported = UnsupportedParameters(strict)
        for name, _ in parameters:
            unsupported.ignore(name, "not-supported", "cannot be added to a page link")
        position = self._sealer.open(cursor, grant)
        current = self._releases.current()
        try:
            tree = await self._releases.open(position.release, position.digest)
            page = PageRequest(tree, grant, position, base, f"{base}/_page/{cursor}")
            return await self._answer_page(page, tuple(unsupported.ignored))
        except NotFound:
            if position.release == current.id:
                raise
            text = "the release of this page link was taken down; search again"
            raise FhirError("link-expired", text) from None

    async def everything(
        self,
        grant: Grant,
        patient_id: str,
        parameters: Parameters,
        *,
        base: str,
        strict: bool = False,
    ) -> Answer:
        """Return the first page of `Patient/[id]/$everything`.

        Raises:
            FhirError: as `search`; 404 not the grant's patient.
        """
        tree = self._releases.current()
        kind = TYPES["Patient"]
        require(grant, kind, "r")
        if patient_id != grant.patient:
            raise _missing(kind)
        request = everything.parse(parameters, strict=strict)
        position = Position("everything", kind.name, request.used, 0, tree.id, tree.digest)
        url = first_page_url(
            base, f"Patient/{patient_id}/$everything", request.used, self._options.page_limit
        )
        return await self._everything(PageRequest(tree, grant, position, base, url), request)

    def _columns(self, tree: ReleaseTree) -> _Columns:
        return tuple(map(tree.columns, self._kinds))

    def _kind(self, resource_type: str) -> ResourceType:
        kind = self._kinds.get(resource_type)
        if kind is None:
            names = ", ".join(self._kinds)
            raise FhirError("type-unknown", f"this server has {names} alone")
        return kind

    def _parse_search(
        self,
        resource_type: str,
        parameters: tuple[tuple[str, str], ...],
        base: str,
        strict: bool,
        now: int,
        path: str,
        columns: _Columns,
    ) -> _Question:
        """Parse parameters against a release with some columns in its indexes."""
        kinds = {kind.name: kind for kind in self._answerable(columns, "")}
        query = parse(
            kinds[resource_type],
            parameters,
            kinds=kinds,
            base=base,
            strict=strict,
            now=now,
            chains=self.is_public,
        )
        url = first_page_url(base, path, query.used, self._options.page_limit)
        return _Question(query, needed_sections(query), url)

    async def _answer_page(self, page: PageRequest, ignored: tuple[str, ...]) -> Answer:
        tree, parameters = page.tree, page.position.parameters
        kind = self._kind(page.position.type)
        if page.position.kind != "search":
            require(page.grant, kind, "r")
            request = replace(everything.parse(parameters, strict=True), ignored=ignored)
            return await self._everything(page, request)
        require(page.grant, kind, "s")
        question = self._parse_search(
            kind.name, parameters, page.base, True, tree.now, kind.name, self._columns(tree)
        )
        question = question._replace(query=replace(question.query, ignored=ignored))
        return await self._answer_search(page, question)

    async def _answer_search(self, page: PageRequest, question: _Question) -> Answer:
        tree, grant = page.tree, page.grant
        query, kind = question.query, question.query.kind
        member = await tree.patient(grant.patient)
        size = self._page_size(query.count, self._options.page_size)
        if query.summary == "count":
            size = 0
        window = slice(page.position.offset, page.position.offset + size)
        # Matches: rows of the member's block, or resources of the directory.
        rows: Sequence[int] | None = None
        hits: Sequence[Hit] = ()
        total = 0
        if kind.shared:
            total, hits = await self._shared(page, member, query, window)
        elif member is not None:
            await tree.need(member, question.columns)
            block = member
            rows = await self._long_work.run(
                query.cost * len(block.rows(kind.name)), lambda: _rows_in_order(block, query)
            )
            total = len(rows)
            rows = rows[window]
        # Only the lines of this page are read, and reduced to the requested elements.
        resolver = ReferenceResolver(tree, grant, member, self._kinds)
        if rows is not None and member is not None:
            lines = await tree.lines(member, rows)
            matches: Sequence[Hit] = [(member, row) for row in rows] if query.includes else ()
        else:
            matches = hits
            lines = [line for _, line in await resolver.read_lines(_by_name(matches, kind.name))]
        if query.summary not in ("false", "count") or query.elements:
            whole_lines = lines
            lines = await self._long_work.run(
                _SUBSET_SIZE * len(lines),
                lambda: [
                    subset(text, kind.name, query.summary, query.elements) for text in whole_lines
                ],
            )
        entries = [Entries(kind.name, lines, "match")]
        # Then resources that matches refer to or that refer to them, and notes of those left out.
        if query.includes and matches:
            included = await resolver.read_included(query, matches)
            entries += [Entries(name, (line,), "include") for name, line in included]
        notes = [Note("not-supported", text) for text in query.ignored]
        if query.revincludes and matches:
            referring, left_out = await self._referring(tree, query, matches)
            answered = resolver.answered.union(_by_name(matches, kind.name))
            further = {name: hit for name, hit in referring.items() if name not in answered}
            read = await resolver.read_lines(further)
            entries += [Entries(name, (line,), "include") for name, line in read]
            if left_out:
                text = f"{left_out} more resources refer to these matches: ask for fewer a page"
                notes.append(Note("incomplete", text))
        notes += [
            Note("forbidden", f"{name} was left out of what is included: {_required_scope(name)}")
            for name in sorted(resolver.withheld)
        ]
        stated_total = total if query.total else None
        return self._build_answer(page, size, total, stated_total, entries, notes, query.ignored)

    async def _referring(
        self, tree: ReleaseTree, query: Query, matches: Sequence[Hit]
    ) -> tuple[dict[str, Hit], int]:
        """Return resources that refer to matches (`_revinclude`), and how many were left out."""
        raise NotImplementedError

    async def _shared(
        self, page: PageRequest, member: IndexedBlock | None, query: Query, window: slice
    ) -> tuple[int, Sequence[Hit]]:
        """Return the number of matches among directory resources, and the matches of a page.

        A search by `_id` reaches the same resources as a read. Any other search is limited to those
        that the member's claims and coverages refer to, and their roles and places: a member's
        token does not open the whole directory.
        """
        tree, grant, kind = page.tree, page.grant, query.kind
        named = [condition.ids for condition in query.conditions if condition.ids]
        if named:
            references = {
                f"{kind.name}/{resource_id}"
                for resource_id in named[0]
                if ID.fullmatch(resource_id)
            }
        else:
            references = await find_relevant(tree, grant, member, kind)
        resolver = ReferenceResolver(tree, grant, member, self._kinds)
        located = await resolver.locate(sorted(references), {kind.name: needed_sections(query)})
        if named:
            located = {
                name: hit for name, hit in located.items() if await may_read(tree, grant, hit, kind)
            }
        candidates: dict[IndexedBlock, set[int]] = {}
        for block, row in located.values():
            candidates.setdefault(block, set()).add(row)
        hits = [
            (block, row)
            for block, rows in candidates.items()
            for row in find_matches(block, kind.name, query.conditions)
            if row in rows
        ]
        hits.sort(key=lambda hit: hit[0].index.ids[hit[1]])
        return len(hits), sort_hits(hits, kind.name, query.sorts)[window]

    async def _everything(self, page: PageRequest, request: EverythingRequest) -> Answer:
        tree, grant, offset = page.tree, page.grant, page.position.offset
        block = await tree.patient(grant.patient)
        if block is None or not block.rows("Patient"):
            if block is not None and await _is_gone(tree, block, "Patient", grant.patient):
                raise FhirError("resource-deleted", "this Patient was retracted")
            raise _missing(TYPES["Patient"])
        for name in request.types or ():
            require(grant, TYPES[name], "r")
        # The entries of the page: all of the compartment, or changes since an instant.
        resolver = ReferenceResolver(tree, grant, block, self._kinds)
        notes = [Note("not-supported", text) for text in request.ignored]
        size = self._page_size(request.count, self._options.page_limit)
        span = slice(offset, offset + size)
        if request.since is None:
            entries, total = await everything.read_page(tree, grant, block, request, resolver, span)
        else:
            change = await difference(self._releases, tree, grant, request)
            if offset and change.is_complete != (page.position.kind == "whole"):
                raise FhirError("link-expired", "releases since _since were taken down: begin anew")
            kind: Literal["whole", "everything"] = "whole" if change.is_complete else "everything"
            page = page._replace(position=page.position._replace(kind=kind))
            hits = dict(list(change.hits.items())[span])
            total = len(change.hits)
            entries = [
                Entries(name, (line,), "include" if TYPES[name].shared else "match")
                for name, line in await resolver.read_lines(hits)
            ]
            notes += change.notes() if offset == 0 else []
        # Notes name the types outside the scopes, so that none is left out silently.
        forbidden = [name for name in everything.MEMBER_TYPES if not grant.may(name, "r")]
        notes += [
            Note("forbidden", f"{name} was left out: {_required_scope(name)}")
            for name in sorted(resolver.withheld.union(forbidden))
        ]
        return self._build_answer(page, size, total, None, entries, notes, request.ignored)

    def _build_answer(
        self,
        page: PageRequest,
        size: int,
        total: int,
        stated_total: int | None,
        entries: Sequence[Entries],
        notes: Sequence[Note],
        ignored: Sequence[str],
    ) -> Answer:
        tree = page.tree
        links = self._sealer.links(page.grant, page.position, page.base, page.url, size, total)
        body = searchset(
            base=page.base,
            created=tree.created,
            total=stated_total,
            links=links,
            entries=entries,
            notes=notes,
        )
        etag = make_etag(page.grant, tree.id, links, ignored)
        return Answer(body, tree.created, tree.id, etag, types_of(entries))

    def _page_size(self, count: int | None, otherwise: int) -> int:
        return min(otherwise if count is None else count, self._options.page_limit)


def _rows_in_order(member: IndexedBlock, query: Query) -> Sequence[int]:
    """Return the matching rows of a member's block, in the requested order."""
    rows = find_matches(member, query.kind.name, query.conditions)
    if not query.sorts:
        return rows
    in_order = sort_hits([(member, row) for row in rows], query.kind.name, query.sorts)
    return [row for _, row in in_order]


async def _is_gone(
    tree: ReleaseTree, block: IndexedBlock, resource_type: str, resource_id: str
) -> bool:
    """Return whether a resource that a block had was retracted."""
    await tree.need(block, ("gone",))
    return any((gone.type, gone.id) == (resource_type, resource_id) for gone in block.index.deleted)


def _by_name(hits: Sequence[Hit], resource_type: str) -> dict[str, Hit]:
    return {f"{resource_type}/{block.index.ids[row]}": (block, row) for block, row in hits}


def _required_scope(name: str) -> str:
    return f"the token needs patient/{name}.r"


def _missing(kind: ResourceType) -> FhirError:
    return FhirError("not-found", f"there is no such {kind.name}")
