"""Time stamps of releases by RFC 3161: an authority's word that a manifest was there at a time.

A stamp is of the manifest's bytes, the root of the release's hash tree: the authority's answer
(TimeStampResp, DER), kept as it came. This is the one home of rfc3161-client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl.errors import NotFound, StoreError, UsageError, not_installed
from etl.publish import object_keys
from etl.publish.reader import Release

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

MEDIA_TYPE = "application/timestamp-query"
"""Of a request over HTTP (RFC 3161, 3.4)."""


@dataclass(frozen=True, slots=True)
class StampRequest:
    """A request for a time stamp.

    Attributes:
        body: TimeStampReq, DER.
        digest: SHA-256 of what is stamped.
        nonce: what the answer repeats.
    """

    body: bytes
    digest: bytes
    nonce: int | None

    @classmethod
    def of(cls, data: bytes) -> StampRequest:
        """Return a request for a stamp of some bytes; its nonce is random.

        Raises:
            ModuleNotFoundError: the extra `sign` is not installed.
        """
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        made = TimestampRequestBuilder(data, HashAlgorithm.SHA256).build()
        return cls(made.as_bytes(), hashlib.sha256(data).digest(), made.nonce)

    def check(self, answer: bytes) -> None:
        """Check that an answer is a stamp of these bytes; not yet by whom.

        Raises:
            StoreError: it is none, or the authority refuses.
        """
        from rfc3161_client import PKIStatus, decode_timestamp_response

        try:
            stamp = decode_timestamp_response(answer)
            granted = PKIStatus(stamp.status) == PKIStatus.GRANTED
        except ValueError:
            raise StoreError("the authority's answer is no time stamp (RFC 3161)") from None
        if not granted:
            raise StoreError("the authority refused a time stamp")
        info = stamp.tst_info
        if info.message_imprint.message != self.digest or info.nonce != self.nonce:
            raise StoreError("the authority stamped something else")


def check_time_stamp(release: Release, roots: Sequence[Path]) -> datetime:
    """Return when a release was stamped.

    Args:
        release: the release.
        roots: PEM files with certificates of authorities that are trusted, and of those between.

    Raises:
        UsageError: a file holds no certificate, or the extra `sign` is not installed.
        StoreError: the release has no stamp, or not by such an authority, or of other bytes.
    """
    store, key = release.store, object_keys.time_stamp(release.id)
    try:
        answer = store.get(key)
    except NotFound:
        raise StoreError(f"{store.name}: release {release.id} has no time stamp") from None
    try:
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        raise UsageError(f"time stamps need a package {not_installed('sign')}") from None
    certificates = [each for path in roots for each in _certificates(path)]
    verifier = VerifierBuilder(
        roots=[each for each in certificates if each.issuer == each.subject],
        intermediates=[each for each in certificates if each.issuer != each.subject],
    )
    try:
        stamp = decode_timestamp_response(answer)
        verifier.build().verify_message(stamp, store.get(release.manifest.key))
    except (VerificationError, ValueError):
        raise StoreError(
            f"{store.name}: {key} is no time stamp of this manifest by an authority that was given:"
            " another authority made it, or one of them was changed"
        ) from None
    return stamp.tst_info.gen_time


def _certificates(path: Path) -> Sequence[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} holds no certificate (PEM)") from None
