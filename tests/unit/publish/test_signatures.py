"""Signed releases: whose they are, and that nothing under a signature can be exchanged."""

import base64
import json
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from etl.errors import StoreError, UsageError
from etl.publish.canonical_json import dumps, loads, sha256
from etl.publish.history import rollback
from etl.publish.kept_objects import ObjectRef
from etl.publish.manifest import Manifest, ReleaseFacts
from etl.publish.prune import Expiry, prune, read_expiry
from etl.publish.reader import Release, open_current
from etl.publish.signatures import SigningKey, check_descent, check_signature
from etl.publish.verify import verify
from tests.memory_store import MemoryStore
from tests.unit.publish.samples import LATER, NOW, objects, patient, publish
from tests.unit.publish.test_upkeep import clock_at

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def private_pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.fixture
def public(tmp_path):
    return write_public(PRIVATE, tmp_path / "public.pem")


def write_public(key, path):
    path.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def published(store, amount, now):
    anna = patient("anna", 1, amount=amount)
    return publish(store, [anna], now=now, key=SigningKey(private_pem(PRIVATE)))


def test_a_signature_is_checked_by_code_that_shares_nothing_with_it(store, public):
    """The envelope is taken apart as DSSE 1.0 says, and the key is another library's."""
    release = published(store, "1.00", NOW)
    envelope = json.loads(store.get(f"releases/{release.id}/signature.json"))
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    [signature] = envelope["signatures"]
    raw = base64.b64decode(signature["sig"])
    PRIVATE.public_key().verify(raw, signed)
    with pytest.raises(InvalidSignature):
        OTHER.public_key().verify(raw, signed)
    statement = json.loads(payload)
    manifest = store.get(f"releases/{release.id}/manifest.json")
    assert statement["subject"] == [
        {"name": f"releases/{release.id}/manifest.json", "digest": {"sha256": sha256(manifest)}}
    ]
    assert check_signature(release, [public]) == signature["keyid"]


def test_the_same_release_has_the_same_signature():
    stores = MemoryStore(), MemoryStore()
    ids = [published(store, "1.00", NOW).id for store in stores]
    first, second = (store.get(f"releases/{ids[0]}/signature.json") for store in stores)
    assert ids[0] == ids[1]
    assert first == second


def test_another_key_a_changed_manifest_and_no_signature_are_detected(store, public, tmp_path):
    release = published(store, "1.00", NOW)
    other = write_public(OTHER, tmp_path / "other.pem")
    with pytest.raises(StoreError, match="not a signature by any of the given keys"):
        check_signature(release, [other])
    assert check_signature(release, [other, public])
    key = f"releases/{release.id}/signature.json"
    data = store.get(key)
    manifest = store.get(release.manifest.key)
    changed = manifest.replace(b'"kind":"full"', b'"kind":"delta"')
    assert changed != manifest
    store.put(release.manifest.key, changed)
    forged = Release(store, Manifest.from_bytes(changed, "it"))
    with pytest.raises(StoreError, match="signs another manifest"):
        check_signature(forged, [public])
    store.put(release.manifest.key, manifest)
    for at in range(0, len(data), 37):  # a byte of the envelope is flipped
        store.put(key, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(StoreError, match=r"signature|signs another"):
            check_signature(release, [public])
    assert len(data) > 500
    for member, value in (
        ("payload", 7),
        ("payload", None),
        ("signatures", [7]),
        ("signatures", 7),
    ):
        store.put(key, dumps({**loads(data, "it"), member: value}))
        with pytest.raises(StoreError, match="not a signature by any of the given keys"):
            check_signature(release, [public])
    store.put(key, b"[" * 100_000)
    with pytest.raises(StoreError, match="not a signature by any of the given keys"):
        check_signature(release, [public])
    store.delete([key])
    with pytest.raises(StoreError, match="is not signed"):
        check_signature(release, [public])


def test_an_older_release_put_back_is_detected_by_those_who_know_the_last_one(store):
    first = published(store, "1.00", NOW)
    pointer = store.get("current.json")
    second = published(store, "2.00", LATER)
    assert check_descent(store, second, first.id) == 1
    assert check_descent(store, second, second.id) == 0
    store.put("current.json", pointer)
    replayed = open_current(store).release
    assert replayed.id == first.id
    assert verify(replayed).ok  # it is whole: nothing but its age is wrong
    with pytest.raises(StoreError, match="put back to an older release"):
        check_descent(store, replayed, second.id)


def test_a_manifest_between_that_was_exchanged_is_named(store):
    first = published(store, "1.00", NOW)
    second = published(store, "2.00", LATER)
    third = published(store, "3.00", "2026-11-27T02:00:00Z")
    assert check_descent(store, third, first.id) == 2
    data = store.get(second.manifest.key)
    store.put(second.manifest.key, data.replace(b'"kind":"full"', b'"kind":"delta"'))
    with pytest.raises(StoreError, match=f"not the one that release {third.id} was made from"):
        check_descent(store, third, first.id)
    store.delete([second.manifest.key])
    with pytest.raises(StoreError, match="if it was pruned, use a release"):
        check_descent(store, third, first.id)


def test_rollbacks_are_signed_and_prunes_leave_the_signatures_of_what_stays(store, public):
    first = published(store, "1.00", NOW)
    second = published(store, "2.00", LATER)
    now = "2026-11-27T02:00:00Z"
    made = rollback(store, first, now, key=SigningKey(private_pem(PRIVATE)))
    back = open_current(store).release
    assert back.id == made.release
    assert check_signature(back, [public])
    assert check_descent(store, back, second.id) == 1
    prune(store, clock_at("2027-01-01T00:00:00Z"), keep=1)
    assert check_signature(back, [public])
    assert not [key for key in objects(store) if second.id in key and "signature" in key]


def test_a_file_that_holds_no_such_key_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"the key .*none\.pem cannot be read"):
        SigningKey.read(tmp_path / "none.pem")
    wrong = tmp_path / "wrong.pem"
    for content in (
        b"no key",
        private_pem(generate_private_key(SECP256R1())),
    ):
        wrong.write_bytes(content)
        with pytest.raises(UsageError, match="contains no Ed25519 private key"):
            SigningKey.read(wrong)
    right = tmp_path / "right.pem"
    right.write_bytes(private_pem(PRIVATE))
    assert SigningKey.read(right).pem == private_pem(PRIVATE)
    assert "PRIVATE" not in repr(SigningKey.read(right))


def with_reports(store, keys):
    """Publish two releases, each with the report of a key."""
    releases = []
    for key, now in zip(keys, (NOW, LATER), strict=True):
        store.put(key, b"x")
        facts = ReleaseFacts("full", reports=[ObjectRef(key, sha256(b"x"), 1)])
        releases.append(publish(store, [patient("anna", 1)], now=now, facts=facts))
    return releases


REPORT_KEYS = [f"reports/2026112{day}T000000Z-0123456789ab/index.html" for day in (4, 5)]
FORGED = dumps({"before": {"reports": "2099-01-01T00:00:00+00:00"}, "format": 1}) + b"\n"


def test_a_prune_signs_what_it_deleted_and_verify_with_a_key_believes_nothing_else(
    store, public, tmp_path
):
    older, _ = with_reports(store, REPORT_KEYS)
    store.put("reports/expired.json", FORGED)
    store.delete([REPORT_KEYS[0]])
    assert verify(older).ok
    assert [one.key for one in verify(older, keys=[public]).problems] == [REPORT_KEYS[0]]
    # A prune that signs takes over no record that its key did not sign.
    expiry = Expiry({"reports": datetime(2026, 11, 25, tzinfo=UTC)})
    key = SigningKey(private_pem(PRIVATE))
    prune(store, clock_at("2026-11-30T00:00:00Z"), keep=2, expiry=expiry, key=key)
    assert read_expiry(store, [public]) == read_expiry(store) == expiry
    assert verify(older, keys=[public]).ok
    other = write_public(OTHER, tmp_path / "other.pem")
    assert [one.key for one in verify(older, keys=[other]).problems] == [REPORT_KEYS[0]]
    signed = loads(store.get("reports/expired.json"), "it")
    store.put("reports/expired.json", dumps({**signed, **loads(FORGED, "it")}))
    assert read_expiry(store, [public]) == expiry


def test_reports_of_the_present_release_never_expire(store):
    _, present = with_reports(store, REPORT_KEYS)
    store.put("reports/expired.json", FORGED)
    store.delete(REPORT_KEYS)
    assert [one.key for one in verify(present).problems] == [REPORT_KEYS[1]]
