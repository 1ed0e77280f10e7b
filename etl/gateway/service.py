"""The gateway without HTTP: read, search, page and `$everything`, for one verified grant."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import quote

from etl.errors import NotFound
from etl.gateway import compartment
from etl.gateway.access import may, require, supported
from etl.gateway.bundle import Entries, head_of, searchset
from etl.gateway.following import Following, Hit
from etl.gateway.paging import Position, Sealer
from etl.gateway.refusals import Refusal
from etl.gateway.releases import Releases
from etl.gateway.remembering import LONGEST
from etl.gateway.search.matching import matching, ordered, sections
from etl.gateway.search.parsing import parse
from etl.gateway.search.query import Query
from etl.gateway.subset import subset
from etl.gateway.supported import TYPES, ResourceType
from etl.gateway.tree import Block, Tree, column_name
from etl.publish.catalog import ID
from etl.smart.grants import Grant

_REMEMBERED: Final = 512
"""Searches whose meaning is remembered."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/,*-]*")

_FACILITY: Final = ("ExplanationOfBenefit", "facility")
"""A column of references that no parameter searches: where a claim's services were given."""

__all__ = ["Answer", "Found", "Refusal", "Service"]


@dataclass(frozen=True, slots=True)
class Found:
    """One resource.

    Attributes:
        body: its JSON, without line break.
        version: `meta.versionId`, for the ETag `W/"…"`.
        last_updated: `meta.lastUpdated`, a FHIR instant, for Last-Modified.
    """

    body: bytes
    version: str
    last_updated: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A Bundle of type searchset.

    Attributes:
        body: its JSON.
        last_updated: FHIR instant at which the release was made that it was answered from.
        release: id of that release.
        etag: weak entity tag, as it stands in the header (`W/"…"`): equal for the same question,
            grant and release.
    """

    body: bytes
    last_updated: str | None
    release: str
    etag: str


class _Question(NamedTuple):
    """What a search asks.

    Attributes:
        query: its meaning.
        columns: the sections of an index that it reads.
        url: of its first page.
    """

    query: Query
    columns: Sequence[str]
    url: str


@dataclass(frozen=True, slots=True)
class Pages:
    """How large pages are.

    Attributes:
        size: matches a page where `_count` is not given.
        limit: most matches a page, and the size of those of `$everything`.
    """

    size: int = 10
    limit: int = 100


class Service:
    """FHIR read and search over the releases of one tree.

    Every method takes the current release once, at its start, and answers from it alone. Every
    method may raise `Refusal`; and `StoreError` where storage failed or no release was ever seen,
    which the HTTP shell answers with 503 and Retry-After.

    HTTP's part: `_format` and `_pretty` are not handed in (they are ignored if they are); a
    `POST _search` hands in the parameters of body and URL together, in order; `strict` is the
    value of `Prefer: handling=…`, and True where the client prefers nothing (C4BB: 400 for an
    invalid parameter). `base` is the FHIR base URL without a slash at its end. Page links are
    `{base}/_page/{cursor}`, answered by `page`.

    Args:
        releases: what is served.
        sealer: makes and opens page links.
        pages: how large pages are.
    """

    def __init__(self, releases: Releases, sealer: Sealer, pages: Pages | None = None) -> None:
        self._releases = releases
        self._sealer = sealer
        self._pages = pages or Pages()
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._understood)

    async def read(self, grant: Grant, resource_type: str, resource_id: str) -> Found:
        """Return one resource.

        Raises:
            Refusal: 404 not there, or another member's (which is the same to see), or no type of
                ours; 403 outside the scopes; 410 it was retracted.
        """
        tree = self._releases.current()
        kind = self._kind(resource_type)
        require(grant, kind, "r")
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
            await tree.need(block, ("gone",))
            if any((one.type, one.id) == (resource_type, resource_id) for one in block.index.gone):
                raise Refusal(410, "deleted", f"this {resource_type} was retracted")
            raise _missing(kind)
        (line,) = await tree.lines(block, (row,))
        head = head_of(line)
        if (head.type, head.id) != (resource_type, resource_id):
            raise tree.damaged(block)
        return Found(bytes(line), head.version, head.last_updated)

    async def vread(
        self, grant: Grant, resource_type: str, resource_id: str, version: str
    ) -> Found:
        """Return one resource, if that is its version now.

        Raises:
            Refusal: as `read`; 404 for another version, for no others are kept.
        """
        found = await self.read(grant, resource_type, resource_id)
        if found.version != version:
            raise Refusal(404, "not-found", "no such version; the present one alone is kept")
        return found

    async def search(
        self,
        grant: Grant,
        resource_type: str,
        parameters: Sequence[tuple[str, str]],
        *,
        base: str,
        strict: bool,
    ) -> Answer:
        """Return the first page of a search.

        Raises:
            Refusal: 400 a parameter is not supported or its value is wrong; 403 outside the
                scopes; 404 no type of ours.
        """
        tree = self._releases.current()
        kind = self._kind(resource_type)
        require(grant, kind, "s")
        asked = tuple(parameters)
        short = sum(len(value) for pair in asked for value in pair) <= LONGEST
        understood = self._remembered if short else self._understood
        question = understood(kind.name, asked, base, strict, tree.now)
        position = Position("search", kind.name, question.query.used, 0, tree.id, tree.digest)
        return await self._searched(tree, grant, question, position, base, question.url)

    async def page(self, grant: Grant, cursor: str, *, base: str) -> Answer:
        """Return the page that a link of an earlier answer leads to, from the same release.

        Raises:
            Refusal: 400 the link was tampered with, or is another client's or member's; 410 it is
                too old, or its release was pruned; 403 the scopes are not enough any more.
        """
        position = self._sealer.open(cursor, grant)
        current = self._releases.current()
        try:
            tree = await self._releases.open(position.release, position.digest)
            return await self._continued(tree, grant, position, base, cursor)
        except NotFound:
            if position.release == current.id:
                raise
            self._releases.forget(position.release)
            raise Refusal(
                410, "expired", "the release of this page link was taken down; search again"
            ) from None

    async def everything(
        self, grant: Grant, patient_id: str, parameters: Sequence[tuple[str, str]], *, base: str
    ) -> Answer:
        """Return the first page of `Patient/[id]/$everything`.

        Raises:
            Refusal: as `search`; 404 not the grant's patient.
        """
        tree = self._releases.current()
        kind = TYPES["Patient"]
        require(grant, kind, "r")
        if patient_id != grant.patient:
            raise _missing(kind)
        asked = compartment.parse(parameters)
        position = Position("everything", kind.name, asked.used, 0, tree.id, tree.digest)
        url = _url(base, f"Patient/{patient_id}/$everything", asked.used)
        return await self._everything(tree, grant, asked, position, base, url)

    def _kind(self, resource_type: str) -> ResourceType:
        return supported(resource_type)

    def _understood(
        self,
        resource_type: str,
        parameters: tuple[tuple[str, str], ...],
        base: str,
        strict: bool,
        now: int,
    ) -> _Question:
        """Return what parameters ask."""
        query = parse(self._kind(resource_type), parameters, base=base, strict=strict, now=now)
        return _Question(query, sections(query), _url(base, resource_type, query.used))

    async def _continued(
        self, tree: Tree, grant: Grant, position: Position, base: str, cursor: str
    ) -> Answer:
        kind = self._kind(position.type)
        url = f"{base}/_page/{cursor}"
        if position.what == "everything":
            require(grant, kind, "r")
            asked = compartment.parse(position.parameters)
            return await self._everything(tree, grant, asked, position, base, url)
        require(grant, kind, "s")
        question = self._understood(kind.name, position.parameters, base, True, tree.now)
        return await self._searched(tree, grant, question, position, base, url)

    async def _searched(
        self,
        tree: Tree,
        grant: Grant,
        question: _Question,
        position: Position,
        base: str,
        url: str,
    ) -> Answer:
        query, kind = question.query, question.query.kind
        own = await tree.patient(grant.patient)
        rows: Sequence[int] | None = None
        hits: Sequence[Hit] = ()
        if kind.shared:
            hits = await self._shared(tree, grant, own, query)
        elif own is not None:
            await tree.need(own, question.columns)
            rows = matching(own, kind.name, query.conditions)
            if query.sorts:
                hits = ordered([(own, row) for row in rows], kind.name, query.sorts)
                rows = [row for _, row in hits]
        total = len(rows) if rows is not None else len(hits)
        size = self._size(query.count, self._pages.size)
        if query.summary == "count":
            size = 0
        here = slice(position.offset, position.offset + size)
        following = Following(tree, grant, own)
        if rows is not None and own is not None:
            page = rows[here]
            lines = await tree.lines(own, page)
            matches: Sequence[Hit] = [(own, row) for row in page] if query.includes else ()
        else:
            matches = hits[here]
            lines = [line for _, line in await following.read(_named(matches, kind.name))]
        if query.summary not in ("false", "count") or query.elements:
            lines = [subset(one, kind.name, query.summary, query.elements) for one in lines]
        entries = [Entries(kind.name, lines, "match")]
        if query.includes and matches:
            found = await following.included(query, matches)
            entries += [Entries(name, (line,), "include") for name, line in found]
        notes = [f"{name} is not supported and was ignored" for name in query.ignored]
        notes += [
            f"{name} was left out of what is included: the token needs patient/{name}.r"
            for name in sorted(following.withheld)
        ]
        links = self._links(grant, position, base, url, size, total)
        body = searchset(
            base=base,
            created=tree.created,
            total=total if query.total else None,
            links=links,
            entries=entries,
            notes=notes,
        )
        return Answer(body, tree.created, tree.id, _etag(grant, tree.id, links, query.ignored))

    async def _shared(
        self, tree: Tree, grant: Grant, own: Block | None, query: Query
    ) -> Sequence[Hit]:
        """Return the matches among directory resources.

        By `_id` all are within reach, as they are for a read. Without, those are that the member's
        own claims and coverages refer to: a member's token is no key to the whole directory.
        """
        kind = query.kind
        named = [one.ids for one in query.conditions if one.ids]
        if named:
            references = {f"{kind.name}/{one}" for one in named[0] if ID.fullmatch(one)}
        else:
            references = await _referred(tree, own, kind.name)
        following = Following(tree, grant, own)
        found = await following.hits(sorted(references), sections(query))
        candidates: dict[Block, set[int]] = {}
        for block, row in found.values():
            candidates.setdefault(block, set()).add(row)
        hits = [
            (block, row)
            for block, rows in candidates.items()
            for row in matching(block, kind.name, query.conditions)
            if row in rows
        ]
        hits.sort(key=lambda hit: hit[0].index.ids[hit[1]])
        return ordered(hits, kind.name, query.sorts)

    async def _everything(
        self,
        tree: Tree,
        grant: Grant,
        asked: compartment.Asked,
        position: Position,
        base: str,
        url: str,
    ) -> Answer:
        own = await tree.patient(grant.patient)
        if own is None or not own.rows("Patient"):
            raise _missing(TYPES["Patient"])
        await tree.need(own, compartment.SECTIONS)
        following = Following(tree, grant, own)
        own_types = [name for name in compartment.OWN if may(grant, name, "r")]
        emitted = [name for name in own_types if asked.wants(name)]
        shared = asked.types is None or any(TYPES[one].shared for one in asked.types)
        for name in asked.types or ():
            require(grant, TYPES[name], "r")
        # Where directory types are asked for, whatever refers to them has to be looked at.
        rows = compartment.rows_of(own, asked, own_types if shared else emitted)
        size = self._size(asked.count, self._pages.limit)
        page = rows[position.offset : position.offset + size]
        lines = await tree.lines(own, page)
        typed = list(zip(_types_of(own, page), lines, strict=True))
        entries = [Entries(name, (line,), "match") for name, line in typed if name in emitted]
        if shared:
            found = following.allowed(
                one for one in compartment.references(lines) if asked.wants(one.partition("/")[0])
            )
            hits = await following.hits(found, ("lastUpdated",))
            late = {one: hit for one, hit in hits.items() if compartment.is_late(hit, asked)}
            read = await following.read(late)
            entries += [Entries(name, (line,), "include") for name, line in read]
        notes = [
            f"{name} was left out: the token needs patient/{name}.r"
            for name in sorted(following.withheld | set(compartment.OWN) - set(own_types))
        ]
        links = self._links(grant, position, base, url, size, len(rows))
        body = searchset(
            base=base,
            created=tree.created,
            total=None,
            links=links,
            entries=entries,
            notes=notes,
        )
        return Answer(body, tree.created, tree.id, _etag(grant, tree.id, links, ()))

    def _size(self, count: int | None, otherwise: int) -> int:
        return min(otherwise if count is None else count, self._pages.limit)

    def _links(
        self, grant: Grant, position: Position, base: str, url: str, size: int, total: int
    ) -> list[tuple[str, str]]:
        """Return the links of a page; its size and the number of matches say which there are.

        Args:
            grant: who may follow them.
            position: of the page itself.
            base: the FHIR base URL.
            url: of the page itself.
            size: most matches a page.
            total: matches on all pages.
        """
        what, kind, used, offset, release, digest = position

        def at(start: int) -> str:
            moved = Position(what, kind, used, start, release, digest)
            return f"{base}/_page/{self._sealer.seal(moved, grant)}"

        links = [("self", url)]
        if url.startswith(f"{base}/_page/"):
            links.append(("first", at(0)))
        if size and offset > 0:
            links.append(("previous", at(max(0, offset - size))))
        if size and offset + size < total:
            links.append(("next", at(offset + size)))
        return links


def _etag(
    grant: Grant, release: str, links: Sequence[tuple[str, str]], ignored: Sequence[str]
) -> str:
    """Return the tag of an answer, from all that it depends on and not from its bytes.

    The links say what was asked, where the page begins, and when the links themselves end.
    """
    parts = (
        release,
        grant.patient,
        grant.client,
        " ".join(grant.scopes),
        str(len(links)),
        *(url for _, url in links),
        *ignored,
    )
    told = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return f'W/"{told}"'


def _url(base: str, path: str, parameters: Sequence[tuple[str, str]]) -> str:
    """Return the URL of a search, of the parameters that were understood."""
    query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in parameters)
    return f"{base}/{path}?{query}" if query else f"{base}/{path}"


async def _referred(tree: Tree, own: Block | None, target: str) -> set[str]:
    """Return the resources of a directory type that a member's block refers to."""
    if own is None:
        return set()
    columns = [
        (kind.name, one.parameter)
        for kind in TYPES.values()
        if not kind.shared
        for one in kind.includes
        if target in one.targets
    ]
    columns.append(_FACILITY)
    await tree.need(own, [column_name(*one) for one in columns])
    return {
        value.partition("/_history/")[0]
        for one in columns
        for value in own.values(*one).values
        if value.startswith(f"{target}/")
    }


def _types_of(block: Block, rows: Sequence[int]) -> list[str]:
    return [name for row in rows for name, of_type in block.index.types.items() if row in of_type]


def _named(hits: Sequence[Hit], resource_type: str) -> dict[str, Hit]:
    return {f"{resource_type}/{block.index.ids[row]}": (block, row) for block, row in hits}


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe=":/,*")


def _missing(kind: ResourceType) -> Refusal:
    return Refusal(404, "not-found", f"there is no such {kind.name}")
