"""Retention of reports and quarantines: those that are older than agreed, of releases that stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from etl.errors import CommitConflict, NotFound, StoreError
from etl.publish import object_keys
from etl.publish.canonical_json import dumps, instant, loads
from etl.publish.manifest import stamp_of
from etl.storage.port import Store, Tagged

FOLDERS: Final = ("reports", "quarantine")


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


def read_expiry(store: Store) -> Expiry:
    """Return what prunes have deleted of releases that stay.

    Raises:
        StoreError: the object that says so is damaged.
    """
    there = _there(store)
    return Expiry() if there is None else _expiry(there, store.name)


def write_expiry(store: Store, expiry: Expiry) -> Expiry:
    """Record what is deleted from now on, before it is; return it merged with earlier records.

    Raises:
        StoreError: it cannot be written; nothing may be deleted then.
    """
    there = _there(store)
    whole = expiry if there is None else expiry.later(_expiry(there, store.name))
    body = {
        name: moment.astimezone(UTC).isoformat(timespec="seconds")
        for name, moment in whole.before.items()
    }
    data = dumps({"format": object_keys.FORMAT, "before": body}) + b"\n"
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


def _expiry(there: Tagged, name: str) -> Expiry:
    what = f"{name}: {object_keys.EXPIRY}"
    try:
        before = loads(there.data, what)["before"]
        return Expiry({folder: instant(before[folder]) for folder in FOLDERS if folder in before})
    except (StoreError, KeyError, TypeError, ValueError, AttributeError):
        raise StoreError(f"{what} is damaged: restore it from a copy") from None
