"""Page links: sealed cursors that only this server can read or make.

A link contains the search, with dates, claim numbers or ids, and links end up in logs of proxies
and histories of browsers. So it is encrypted, with AES-SIV (RFC 5297): no nonce can be reused by
mistake, and equal searches have equal links. Member and app are its associated data, so a link
does not work with another one's token.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from itsdangerous import BadData
from itsdangerous.encoding import base64_decode, base64_encode

from etl.errors import UsageError
from etl.gateway.http.responses import FhirError
from etl.smart.grants import Grant

KEY_BYTES: Final = 32
_PURPOSE: Final = b"cpcds page link 1"
LONGEST_LINK: Final = 16_384
"""Maximum length of a link's last segment; a search by POST of 500 ids takes some 14,000."""

_MAX_TEXT: Final = 262_144
_SAFE_TEXT: Final = re.compile(r"[A-Za-z0-9_.:/,*-]*")
_UNCOMPRESSED: Final = 1_000
"""Up to this many bytes a link is not compressed."""
_ROUNDING: Final = 3600
"""Seconds to which the expiry of a link is rounded up: equal searches have equal links."""


class Position(NamedTuple):
    """Position of a page; a link contains the fields in this order.

    Attributes:
        kind: a search, `$everything`, or `$everything` since an instant with no release to compare.
        type: the searched resource type.
        parameters: the supported parameters.
        offset: number of matches before the page.
        release: id of the release that the first page came from.
        digest: SHA-256 of its manifest.
    """

    kind: Literal["search", "everything", "whole"]
    type: str
    parameters: tuple[tuple[str, str], ...]
    offset: int
    release: str
    digest: str


class Sealer:
    """Makes and opens page links.

    Args:
        keys: secrets of 32 bytes or more; the first seals, all open.
        seconds: how long a link works at least.
        clock: seconds since 1970.

    Raises:
        UsageError: there is no key, or one is too short.
    """

    def __init__(self, keys: Sequence[bytes], seconds: int, clock: Callable[[], float]) -> None:
        if not keys or any(len(key) < KEY_BYTES for key in keys):
            raise UsageError(f"page links need a secret of {KEY_BYTES} bytes or more")
        self._ciphers = [
            AESSIV(hashlib.blake2b(key, digest_size=64, person=b"cpcds page link").digest())
            for key in keys
        ]
        self._seconds = seconds
        self._clock = clock

    def expires(self) -> int:
        """Return the expiry of a link made now, in seconds since 1970."""
        return -(-int(self._clock() + self._seconds) // _ROUNDING) * _ROUNDING

    def seal(self, position: Position, grant: Grant) -> str:
        """Return the last segment of a link: letters, digits, `-` and `_`.

        Raises:
            FhirError: 400, the search is too long for a link.
        """
        text = orjson.dumps([self.expires(), *position])
        if len(text) > _UNCOMPRESSED:
            text = zlib.compress(text)
        sealed = base64_encode(self._ciphers[0].encrypt(text, _associated_data(grant))).decode()
        if len(sealed) > LONGEST_LINK:
            message = "this search is too long for page links: ask for fewer values"
            raise FhirError("too-costly", message)
        return sealed

    def open(self, cursor: str, grant: Grant) -> Position:
        """Return the position that a link points to.

        Raises:
            FhirError: 400, the link is forged, changed, or another member's or app's; 410, it
                expired.
        """
        text = self._decrypt(cursor, grant)
        expires, kind, resource_type, parameters, offset, release, digest = orjson.loads(text)
        if expires <= self._clock():
            raise FhirError("link-expired", "this page link is too old; search again")
        pairs = tuple((name, value) for name, value in parameters)
        return Position(kind, resource_type, pairs, offset, release, digest)

    def links(
        self, grant: Grant, position: Position, base: str, url: str, size: int, total: int
    ) -> list[tuple[str, str]]:
        """Return relation and URL of the links of a page.

        Args:
            grant: the grant that the links are valid for.
            position: position of the page.
            base: the FHIR base URL.
            url: URL of the page.
            size: page size.
            total: number of matches on all pages.
        """
        offset = position.offset

        def link_at(start: int) -> str:
            return f"{base}/_page/{self.seal(position._replace(offset=start), grant)}"

        links = [("self", url)]
        if url.startswith(f"{base}/_page/"):
            links.append(("first", link_at(0)))
        if size and offset > 0:
            links.append(("previous", link_at(max(0, offset - size))))
        if size and offset + size < total:
            links.append(("next", link_at(offset + size)))
        return links

    def _decrypt(self, cursor: str, grant: Grant) -> bytes:
        if len(cursor) <= LONGEST_LINK and cursor.isascii():
            try:
                sealed = base64_decode(cursor)
            except BadData:
                sealed = b""
            if base64_encode(sealed).decode() != cursor:  # or its unused last bits were changed
                sealed = b""
            for cipher in self._ciphers if sealed else ():
                try:
                    packed = cipher.decrypt(sealed, _associated_data(grant))
                except (InvalidTag, ValueError):
                    continue
                if packed.startswith(b"["):
                    return packed
                return zlib.decompressobj().decompress(packed, _MAX_TEXT)
        text = "this is no page link that this server made for this app and member; search again"
        raise FhirError("link-invalid", text)


def make_etag(
    grant: Grant, release: str, links: Sequence[tuple[str, str]], notes: Sequence[str]
) -> str:
    """Return the ETag of an answer, from all that the answer depends on instead of its bytes.

    The links contain the search, the start of the page, and their expiry.
    """
    parts = (
        release,
        grant.patient,
        grant.client,
        " ".join(grant.scopes),
        str(len(links)),
        *(url for _, url in links),
        *notes,
    )
    tag = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
    return f'W/"{tag}"'


def first_page_url(base: str, path: str, parameters: Iterable[tuple[str, str]], limit: int) -> str:
    """Return the URL of a first page.

    Args:
        base: the FHIR base URL.
        path: path after the base.
        parameters: the supported parameters, as requested.
        limit: maximum page size; replaces a larger `_count`.
    """
    pairs = [
        (name, str(min(int(value), limit)) if name == "_count" else value)
        for name, value in parameters
    ]
    query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in pairs)
    return f"{base}/{path}?{query}" if query else f"{base}/{path}"


def _quote(text: str) -> str:
    return text if _SAFE_TEXT.fullmatch(text) else quote(text, safe=":/,*")


def _associated_data(grant: Grant) -> list[bytes]:
    return [_PURPOSE, grant.patient.encode(), grant.client.encode()]
