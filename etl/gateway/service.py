"""The gateway without HTTP: read, search, page and `$everything`, for one verified grant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from etl.smart.grants import Grant


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


class Refusal(Exception):
    """A request that is answered with an OperationOutcome of one error.

    Attributes:
        status: HTTP status: 400, 403, 404 or 410.
        code: FHIR IssueType.
        diagnostics: one sentence for the app's developer; it repeats no value of the request.
        expression: what it is about, for `OperationOutcome.issue.expression`: names of parameters
            as `http.<name>`; empty where nothing can be named.
    """

    def __init__(
        self, status: int, code: str, diagnostics: str, expression: tuple[str, ...] = ()
    ) -> None:
        super().__init__(diagnostics)
        self.status = status
        self.code = code
        self.diagnostics = diagnostics
        self.expression = expression


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
    """

    async def read(self, grant: Grant, resource_type: str, resource_id: str) -> Found:
        """Return one resource.

        Raises:
            Refusal: 404 not there, or another member's (which is the same to see), or no type of
                ours; 403 outside the scopes; 410 it was retracted.
        """
        raise NotImplementedError

    async def vread(
        self, grant: Grant, resource_type: str, resource_id: str, version: str
    ) -> Found:
        """Return one resource, if that is its version now.

        Raises:
            Refusal: as `read`; 404 for another version, for no others are kept.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    async def page(self, grant: Grant, cursor: str, *, base: str) -> Answer:
        """Return the page that a link of an earlier answer leads to, from the same release.

        Raises:
            Refusal: 400 the link was tampered with, or is another client's or member's; 410 it is
                too old, or its release was pruned; 403 the scopes are not enough any more.
        """
        raise NotImplementedError

    async def everything(
        self, grant: Grant, patient_id: str, parameters: Sequence[tuple[str, str]], *, base: str
    ) -> Answer:
        """Return the first page of `Patient/[id]/$everything`.

        Raises:
            Refusal: as `search`; 404 not the grant's patient.
        """
        raise NotImplementedError
