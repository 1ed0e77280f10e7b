"""Retention of reports and quarantines: those that are older than agreed, of releases that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import dumps, instant, loads
from etl.publish.manifest import stamp_of
from etl.publish.signatures import SigningKey, open_envelope, read_public_key
from etl.storage.port import Store, Tagged

FOLDERS: Final = ("reports", "quarantine")
PAYLOAD_TYPE: Final = "application/vnd.cpcds-bluebutton.expired+json"
"""Type of what is signed of the record (DSSE)."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """Times before which reports and quarantines of runs are gone.

    Attributes:
        before: `reports` or `quarantine` -> runs that began before this; a folder that is not there
            expires with its releases alone.
    """

    before: Mapping[str, datetime] = field(default_factory=dict)

    def covers(self, key: str, created: str) -> bool:
        """Return whether an object's run began before the time of its folder.

        Args:
            key: of the object.
            created: FHIR instant of a release that names it. The time in a key is later than that
                of its run where ids count on from a release of a clock that was ahead.
        """
        folder, _, rest = key.partition("/")
        limit = self.before.get(folder)
        if limit is None:
            return False
        try:
            return min(stamp_of(rest.partition("/")[0]), instant(created)) < limit
        except ValueError:
            return False  # of no run: the page of all reports

    def later(self, other: Expiry) -> Expiry:
        """Return the later time of each folder."""
        both = [each for each in (self.before, other.before) if each]
        names = {name for each in both for name in each}
        return Expiry({name: max(each[name] for each in both if name in each) for name in names})


def read_expiry(store: Store, keys: Sequence[Path] = ()) -> Expiry:
    """Return what prunes have deleted of releases that stay.

    Args:
        store: the target.
        keys: files with public keys, one of which must have signed the record: else nothing in it
            is believed. Without keys it is believed as it is.

    Raises:
        UsageError: a file holds no public key.
        StoreError: the record is damaged.
    """
    there = _there(store)
    if there is None:
        return Expiry()
    return _expiry(there, store.name, [read_public_key(path) for path in keys])


def write_expiry(store: Store, expiry: Expiry, key: SigningKey | None = None) -> Expiry:
    """Record what is deleted from now on, before it is; return it merged with earlier records.

    Args:
        store: the target.
        expiry: what is to be deleted.
        key: signs the record; earlier records that it did not sign are left out then. None to sign
            nothing.

    Raises:
        StoreError: it cannot be written; nothing may be deleted then.
    """
    there = _there(store)
    whole = expiry
    if there is not None:
        public_keys = () if key is None else (key.public(),)
        whole = expiry.later(_expiry(there, store.name, public_keys))
    body = {
        "format": object_keys.FORMAT,
        "before": {
            name: moment.astimezone(UTC).isoformat(timespec="seconds")
            for name, moment in whole.before.items()
        },
    }
    signed = {} if key is None else {"signed": key.envelope(dumps(body), PAYLOAD_TYPE)}
    data = dumps({**body, **signed}) + b"\n"
    try:
        store.swap(object_keys.EXPIRY, data, None if there is None else there.tag)
    except CommitConflict:
        raise StoreError(f"{store.name}: another prune is at work; run it again") from None
    return whole


def _there(store: Store) -> Tagged | None:
    try:
        return store.read(object_keys.EXPIRY)
    except NotFound:
        return None


def _expiry(there: Tagged, name: str, public_keys: Sequence[Any]) -> Expiry:
    what = f"{name}: {object_keys.EXPIRY}"
    try:
        record = loads(there.data, what)
        if public_keys:
            opened = open_envelope(dumps(record.get("signed")), PAYLOAD_TYPE, public_keys)
            record = {"before": {}} if opened is None else loads(opened[0], what)
        before = record["before"]
        return Expiry({folder: instant(before[folder]) for folder in FOLDERS if folder in before})
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(f"{what} is damaged: restore it from a copy") from None
