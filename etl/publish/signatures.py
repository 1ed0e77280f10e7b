"""Signatures of releases, and the chain of manifests from one to another.

A manifest is the root of a hash tree: it names the hash of each catalog shard, bulk file and
report, a shard that of each block and index, and so on down to the bytes. It also names the hash
of its parent's manifest. So a signature of the manifest's hash is one of all that a reader sees,
and of all releases before.

A signature is an envelope of DSSE 1.0 around a statement of in-toto 1.0 about the manifest. This is
the one home of securesystemslib.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from etl.errors import NotFound, StoreError, UsageError, not_installed
from etl.publish import object_keys
from etl.publish.canonical_json import JSON, dumps, loads, sha256
from etl.publish.manifest import Manifest
from etl.publish.reader import Release
from etl.storage.port import Store

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:cpcds-bluebutton:release:1"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key.

    Attributes:
        pem: PKCS 8, PEM, without a password. Not printed.
    """

    pem: bytes

    def __repr__(self) -> str:
        return "SigningKey()"

    @classmethod
    def read(cls, path: Path) -> SigningKey:
        """Return the key of a file.

        Raises:
            UsageError: it cannot be read, or holds no such key.
        """
        key = cls(_bytes_of(path))
        _signer(key, str(path))
        return key

    def sign(self, manifest: Manifest, data: bytes) -> bytes:
        """Return the signature of a manifest, the same for the same bytes (RFC 8032, 5.1.6).

        Args:
            manifest: of the release.
            data: its bytes.
        """
        return dumps(self.envelope(dumps(_statement(manifest, data)), PAYLOAD_TYPE)) + b"\n"

    def envelope(self, payload: bytes, payload_type: str) -> JSON:
        """Return a signed envelope around some bytes, the same for the same bytes."""
        envelope = _Library().dsse.Envelope(payload, payload_type, {})
        envelope.sign(_signer(self, "the key"))
        return envelope.to_dict()

    def public(self) -> JSON:
        """Return the public key that belongs to it."""
        return _signer(self, "the key").public_key


def check_signature(release: Release, keys: Sequence[Path]) -> str:
    """Return the id of the key by which a release is signed.

    Args:
        release: the release.
        keys: files with public keys (SubjectPublicKeyInfo, PEM), one of which must have signed it.

    Raises:
        UsageError: a file holds no public key.
        StoreError: the release is not signed by any of them, or its signature is of other bytes.
    """
    store, manifest = release.store, release.manifest
    key = object_keys.signature(manifest.release)
    try:
        data = store.get(key)
    except NotFound:
        raise StoreError(f"{store.name}: release {manifest.release} is not signed") from None
    public = [read_public_key(path) for path in keys]
    opened = open_envelope(data, PAYLOAD_TYPE, public)
    if opened is None:
        raise StoreError(
            f"{store.name}: {key} is not a signature by any of the given keys: another key "
            "made it, or it was changed"
        )
    payload, key_id = opened
    if payload != dumps(_statement(manifest, store.get(manifest.key))):
        raise StoreError(
            f"{store.name}: {key} signs another manifest: the present manifest was changed"
        )
    return key_id


def open_envelope(
    data: bytes, payload_type: str, public_keys: Sequence[Any]
) -> tuple[bytes, str] | None:
    """Return the payload of an envelope, and the id of the key that signed it.

    Returns None if it is no envelope of this type by one of the keys.

    Args:
        data: JSON text.
        payload_type: what the payload must be declared as.
        public_keys: as of `read_public_key`.
    """
    library = _Library()
    try:
        envelope = library.dsse.Envelope.from_dict(loads(data, "the envelope"))
        accepted = envelope.verify(list(public_keys), 1)
    except (
        *(StoreError, library.exceptions.Error),
        *(AttributeError, KeyError, TypeError, ValueError),
    ):
        return None
    if envelope.payload_type != payload_type:
        return None
    return envelope.payload, str(next(iter(accepted)))


def check_descent(store: Store, release: Release, known: str) -> int:
    """Return how many releases after a known one a release is.

    With the id of the last release that was seen, this shows that `current.json` was not set back
    to an older one, and that no manifest between was replaced.

    Args:
        store: the target.
        release: the release that readers see.
        known: id of a release that is known to have been published.

    Raises:
        StoreError: the release does not come after it, or a manifest between is not the one that
            its successor names.
    """
    steps, manifest = 0, release.manifest
    while manifest.release != known:
        parent = manifest.parent
        if parent is None or parent < known:
            raise StoreError(
                f"{store.name}: release {release.id} does not come after {known}: current.json was "
                "put back to an older release, or this is another tree"
            )
        what = f"{store.name}: {object_keys.manifest(parent)}"
        try:
            data = store.get(object_keys.manifest(parent))
        except NotFound:
            raise StoreError(
                f"{what} is missing, so it is unknown whether {release.id} comes after "
                f"{known}; if it was pruned, use a release that `cpcds releases` lists"
            ) from None
        if manifest.parent_sha256 and sha256(data) != manifest.parent_sha256:
            raise StoreError(f"{what} is not the one that release {manifest.release} was made from")
        steps, manifest = steps + 1, Manifest.from_bytes(data, what)
    return steps


def _statement(manifest: Manifest, data: bytes) -> JSON:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": manifest.key, "digest": {"sha256": sha256(data)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "release": manifest.release,
            "parent": manifest.parent,
            "parentSha256": manifest.parent_sha256 or None,
            "created": manifest.created,
        },
    }


class _Library:
    """The parts of securesystemslib that are used: loaded where they are needed."""

    def __init__(self) -> None:
        try:
            from cryptography.hazmat.primitives import serialization
            from securesystemslib import dsse, exceptions, signer
        except ImportError:
            raise UsageError(f"signatures need a package {not_installed('sign')}") from None
        self.serialization: Any = serialization
        self.dsse: Any = dsse
        self.exceptions: Any = exceptions
        self.signer: Any = signer


def _signer(key: SigningKey, name: str) -> Any:
    library = _Library()
    try:
        private = library.serialization.load_pem_private_key(key.pem, password=None)
        signer = library.signer.CryptoSigner(private)
    except (TypeError, ValueError):
        signer = None
    if signer is None or signer.public_key.keytype != "ed25519":
        raise UsageError(
            f"{name} contains no Ed25519 private key without a password; make one with "
            "`openssl genpkey -algorithm ed25519`"
        )
    return signer


def read_public_key(path: Path) -> Any:
    """Return the public key of a file.

    Raises:
        UsageError: it cannot be read, or holds no such key.
    """
    library = _Library()
    try:
        public = library.serialization.load_pem_public_key(_bytes_of(path))
        return library.signer.SSlibKey.from_crypto(public)
    except ValueError:
        raise UsageError(
            f"{path} contains no public key; make one with `openssl pkey -in KEY -pubout`"
        ) from None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None


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
            raise StoreError("the authority's answer is not a time stamp (RFC 3161)") from None
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
            f"{store.name}: {key} is not a time stamp of this manifest by a given authority:"
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
        raise UsageError(f"{path} contains no certificate (PEM)") from None
