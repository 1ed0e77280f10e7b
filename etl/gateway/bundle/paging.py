"""Page links: sealed cursors that only this server can read or make.

A link holds the search itself, which may contain dates, claim numbers or ids, and links end up in
logs of proxies and histories of browsers. So it is encrypted, with AES-SIV (RFC 5297): no nonce can
be reused by mistake, and equal searches have equal links. The member and the app are bound in as
associated data: a link cannot be used with another's token.
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
"""Most characters of a link's last part; a search by POST of 500 ids takes some 14,000."""

_LARGEST: Final = 262_144
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:/,*-]*")
_SHORT: Final = 1_000
"""Bytes up to which a link is not worth compressing."""
_STEP: Final = 3600
"""Seconds to which the end of a link is rounded up, so that equal searches have equal links."""


class Position(NamedTuple):
    """Position of the next page; a link holds the fields in this order.

    Attributes:
        what: a search, `$everything`, or `$everything` since an instant with no release to compare.
        type: resource type that is searched.
        parameters: as they were understood.
        offset: how many matches come before.
        release: id of the release that the first page was answered from.
        digest: SHA-256 of its manifest.
    """

    what: Literal["search", "everything", "whole"]
    type: str
    parameters: tuple[tuple[str, str], ...]
    offset: int
    release: str
    digest: str


class Sealer:
    """Makes and opens page links.

    Args:
        keys: secrets of 32 bytes or more; the first seals, all open.
        seconds: how long a link works, at least.
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
        """Return when a link that is made now ends, in seconds since 1970."""
        return -(-int(self._clock() + self._seconds) // _STEP) * _STEP

    def seal(self, position: Position, grant: Grant) -> str:
        """Return the link's last part: letters, digits, `-` and `_`.

        Raises:
            FhirError: 400, the search is too long to be held by a link.
        """
        text = orjson.dumps([self.expires(), *position])
        if len(text) > _SHORT:
            text = zlib.compress(text)
        sealed = base64_encode(self._ciphers[0].encrypt(text, _bound(grant))).decode()
        if len(sealed) > LONGEST_LINK:
            says = "this search is too long for page links: ask for fewer values"
            raise FhirError("too-costly", says)
        return sealed

    def open(self, cursor: str, grant: Grant) -> Position:
        """Return the position that a link points to.

        Raises:
            FhirError: 400 it is forged, changed, or another's; 410 it is too old.
        """
        text = self._opened(cursor, grant)
        expires, what, resource_type, parameters, offset, release, digest = orjson.loads(text)
        if expires <= self._clock():
            raise FhirError("link-expired", "this page link is too old; search again")
        pairs = tuple((name, value) for name, value in parameters)
        return Position(what, resource_type, pairs, offset, release, digest)

    def links(
        self, grant: Grant, position: Position, base: str, url: str, size: int, total: int
    ) -> list[tuple[str, str]]:
        """Return the links of a page, by its size and the number of matches.

        Args:
            grant: the grant that they are valid for.
            position: of the page itself.
            base: the FHIR base URL.
            url: of the page itself.
            size: most matches a page.
            total: matches on all pages.
        """
        offset = position.offset

        def at(start: int) -> str:
            return f"{base}/_page/{self.seal(position._replace(offset=start), grant)}"

        links = [("self", url)]
        if url.startswith(f"{base}/_page/"):
            links.append(("first", at(0)))
        if size and offset > 0:
            links.append(("previous", at(max(0, offset - size))))
        if size and offset + size < total:
            links.append(("next", at(offset + size)))
        return links

    def _opened(self, cursor: str, grant: Grant) -> bytes:
        if len(cursor) <= LONGEST_LINK and cursor.isascii():
            try:
                sealed = base64_decode(cursor)
            except BadData:
                sealed = b""
            if base64_encode(sealed).decode() != cursor:  # or its unused last bits were changed
                sealed = b""
            for cipher in self._ciphers if sealed else ():
                try:
                    packed = cipher.decrypt(sealed, _bound(grant))
                except (InvalidTag, ValueError):
                    continue
                if packed.startswith(b"["):
                    return packed
                return zlib.decompressobj().decompress(packed, _LARGEST)
        text = "this is no page link that this server made for this app and member; search again"
        raise FhirError("link-invalid", text)


def etag_of(
    grant: Grant, release: str, links: Sequence[tuple[str, str]], notes: Sequence[str]
) -> str:
    """Return the tag of an answer, from all that it depends on and not from its bytes.

    The links hold the search, the start of the page, and their own expiry.
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


def url_of(base: str, path: str, parameters: Iterable[tuple[str, str]], most: int) -> str:
    """Return the URL of a first page, of the parameters that were understood.

    Args:
        base: the FHIR base URL.
        path: behind it.
        parameters: as they were asked.
        most: largest page: what `_count` says where more was asked for.
    """
    capped = [
        (name, str(min(int(value), most)) if name == "_count" else value)
        for name, value in parameters
    ]
    query = "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in capped)
    return f"{base}/{path}?{query}" if query else f"{base}/{path}"


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe=":/,*")


def _bound(grant: Grant) -> list[bytes]:
    return [_PURPOSE, grant.patient.encode(), grant.client.encode()]
