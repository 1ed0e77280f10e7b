"""Signatures of releases, and the chain of manifests from one to another.

A manifest is the root of a hash tree. It contains the hash of each catalog shard, bulk file and
report; a shard contains the hash of each block and index; and so on. It also contains the hash of
its parent's manifest. So a signature of a manifest covers everything in the release, and all
earlier releases.

A signature is a DSSE 1.0 envelope around an in-toto 1.0 statement about the manifest. Only this
module uses securesystemslib.
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
        """Read a private key from a file.

        Raises:
            UsageError: the file cannot be read, or contains no Ed25519 key.
        """
        key = cls(_read_key_file(path))
        _load_signer(key, str(path))
        return key

    def sign(self, manifest: Manifest, data: bytes) -> bytes:
        """Sign a manifest; the same bytes give the same signature (RFC 8032, 5.1.6).

        Args:
            manifest: the release's manifest.
            data: the manifest's bytes.
        """
        return dumps(self.envelope(dumps(_statement(manifest, data)), PAYLOAD_TYPE)) + b"\n"

    def envelope(self, payload: bytes, payload_type: str) -> JSON:
        """Return a signed envelope around bytes; the same bytes give the same envelope."""
        envelope = _SigningLibraries().dsse.Envelope(payload, payload_type, {})
        envelope.sign(_load_signer(self, "the key"))
        return envelope.to_dict()

    def public(self) -> JSON:
        """Return the matching public key."""
        return _load_signer(self, "the key").public_key


def check_signature(release: Release, keys: Sequence[Path]) -> str:
    """Check a release's signature, and return the ID of its key.

    Args:
        release: the release.
        keys: files with public keys (SubjectPublicKeyInfo, PEM), one of which must have signed it.

    Raises:
        UsageError: a file contains no public key.
        StoreError: no given key signed the release, or its signature is of other bytes.
    """
    store, manifest = release.store, release.manifest
    key = object_keys.signature(manifest.release)
    try:
        data = store.get(key)
    except NotFound:
        raise StoreError(f"{store.name}: release {manifest.release} is not signed") from None
    public_keys = [read_public_key(path) for path in keys]
    verified = open_envelope(data, PAYLOAD_TYPE, public_keys)
    if verified is None:
        raise StoreError(
            f"{store.name}: {key} is not a signature by any of the given keys: another key "
            "made it, or it was changed"
        )
    payload, key_id = verified
    if payload != dumps(_statement(manifest, store.get(manifest.key))):
        raise StoreError(
            f"{store.name}: {key} signs another manifest: the present manifest was changed"
        )
    return key_id


def open_envelope(
    data: bytes, payload_type: str, public_keys: Sequence[Any]
) -> tuple[bytes, str] | None:
    """Verify an envelope; return its payload and the ID of the key that signed it.

    Returns None if the data is no envelope of this type signed by one of the keys.

    Args:
        data: JSON text.
        payload_type: required type of the payload.
        public_keys: results of `read_public_key`.
    """
    library = _SigningLibraries()
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
    """Return how many releases come after a known one, up to a given release.

    If the last seen release is given, this proves that `current.json` was not set back to an older
    one, and that no manifest in between was replaced.

    Args:
        store: the target.
        release: the current release.
        known: ID of a release that is known to have been published.

    Raises:
        StoreError: the release does not come after the known one, or a manifest in between does not
            have the hash that its successor states.
    """
    steps, manifest = 0, release.manifest
    while manifest.release != known:
        parent = manifest.parent
        if parent is None or parent < known:
            raise StoreError(
                f"{store.name}: release {release.id} does not come after {known}: current.json was "
                "put back to an older release, or this is another tree"
            )
        name = f"{store.name}: {object_keys.manifest(parent)}"
        try:
            data = store.get(object_keys.manifest(parent))
        except NotFound:
            raise StoreError(
                f"{name} is missing, so it is unknown whether {release.id} comes after "
                f"{known}; if it was pruned, use a release that `cpcds releases` lists"
            ) from None
        if manifest.parent_sha256 and sha256(data) != manifest.parent_sha256:
            raise StoreError(f"{name} is not the one that release {manifest.release} was made from")
        steps, manifest = steps + 1, Manifest.from_bytes(data, name)
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


class _SigningLibraries:
    """The libraries for signatures, loaded when they are needed."""

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


def _load_signer(key: SigningKey, name: str) -> Any:
    library = _SigningLibraries()
    try:
        private_key = library.serialization.load_pem_private_key(key.pem, password=None)
        signer = library.signer.CryptoSigner(private_key)
    except (TypeError, ValueError):
        signer = None
    if signer is None or signer.public_key.keytype != "ed25519":
        raise UsageError(
            f"{name} contains no Ed25519 private key without a password; make one with "
            "`openssl genpkey -algorithm ed25519`"
        )
    return signer


def read_public_key(path: Path) -> Any:
    """Read a public key from a file.

    Raises:
        UsageError: the file cannot be read, or contains no public key.
    """
    library = _SigningLibraries()
    try:
        public_key = library.serialization.load_pem_public_key(_read_key_file(path))
        return library.signer.SSlibKey.from_crypto(public_key)
    except ValueError:
        raise UsageError(
            f"{path} contains no public key; make one with `openssl pkey -in KEY -pubout`"
        ) from None


def _read_key_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {path} cannot be read: {error.strerror}") from None


MEDIA_TYPE = "application/timestamp-query"
"""Content type of a time stamp request over HTTP (RFC 3161, 3.4)."""


@dataclass(frozen=True, slots=True)
class StampRequest:
    """A request for a time stamp.

    Attributes:
        body: TimeStampReq, DER.
        digest: SHA-256 of the bytes to stamp.
        nonce: random number that the answer must repeat.
    """

    body: bytes
    digest: bytes
    nonce: int | None

    @classmethod
    def from_data(cls, data: bytes) -> StampRequest:
        """Return a request to stamp bytes, with a random nonce.

        Raises:
            ModuleNotFoundError: the extra `sign` is not installed.
        """
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

        request = TimestampRequestBuilder(data, HashAlgorithm.SHA256).build()
        return cls(request.as_bytes(), hashlib.sha256(data).digest(), request.nonce)

    def check(self, answer: bytes) -> None:
        """Check that an answer stamps these bytes; the authority is not verified here.

        Raises:
            StoreError: the answer is no such stamp, or the authority refused.
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
    """Verify a release's time stamp, and return its time.

    Args:
        release: the release.
        roots: PEM files with certificates of trusted authorities and intermediate ones.

    Raises:
        UsageError: a file contains no certificate, or the extra `sign` is not installed.
        StoreError: the release has no stamp by a trusted authority, or the stamp is of other bytes.
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
    certificates = [cert for path in roots for cert in _read_certificates(path)]
    verifier = VerifierBuilder(
        roots=[cert for cert in certificates if cert.issuer == cert.subject],
        intermediates=[cert for cert in certificates if cert.issuer != cert.subject],
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


def _read_certificates(path: Path) -> Sequence[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} contains no certificate (PEM)") from None
