"""A payer who publishes, rolls back and prunes all the time, and the truth of each release."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from etl.publish.history import rollback
from etl.publish.prune import prune
from etl.publish.reader import Release, open_current, read_all
from etl.publish.release import commit
from etl.storage.port import Store
from tests.unit.publish.samples import logical_id, patient, stage

MEMBERS = tuple(f"member{number}" for number in range(40))
"""Member ids, which are their user names at the authorization server's demo directory too."""

KEPT = 4
FIRST = datetime(2026, 1, 1, tzinfo=UTC)

Resource = dict[str, Any]
Truth = dict[str, dict[str, Resource]]
"""Logical id of a Patient → their claims by id, in the order in which they are published."""


@dataclass
class Payer:
    """Publishes into a store.

    Attributes:
        store: the target, without any fault.
        truth: what each release says, by the instant it was made; known before anyone can see it.
        order: those instants, the present one last.
        pruned: those that were pruned, or are about to be.
        rolled_back: how many of the releases are rollbacks.
    """

    store: Store
    truth: dict[str, Truth] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    pruned: set[str] = field(default_factory=set)
    rolled_back: int = 0
    _releases: dict[str, Release] = field(default_factory=dict)

    def enroll(self, file):
        """Write who may sign in, as a `member.csv`."""
        rows = [f"{name},{name}" for name in MEMBERS]
        file.write_text("\n".join(["member_id,given_name", *rows, ""]))

    def night(self):
        """Publish another release; every fourth time take the last one back instead."""
        number = len(self.order)
        now = f"{FIRST + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}"
        if number % 4 == 3:
            to = self._releases[self.order[-2]]
            self._tell(now, self.truth[self.order[-2]])
            rollback(self.store, to, now)
            self.rolled_back += 1
        else:
            # Every night half of the members have another number of claims, and other amounts.
            patients = [
                patient(
                    name,
                    24 + (number + at) % 5 if (number + at) % 2 else 20,
                    amount=f"{number}.25" if (number + at) % 2 else "20.00",
                )
                for at, name in enumerate(MEMBERS)
            ]
            base = open_current(self.store)
            manifest = stage(self.store, patients, base, now=now)
            self._tell(now, _truth(Release(self.store, manifest)))
            commit(self.store, manifest, base)
        self._releases[now] = open_current(self.store).release

    def prune(self):
        """Take all releases away but the last few."""
        self.pruned.update(self.order[:-KEPT])
        prune(self.store, lambda: datetime.now(UTC), keep=KEPT, grace=timedelta(0))

    def present(self):
        """Return the instant of the last release."""
        return self.order[-1]

    def _tell(self, now, truth):
        self.truth[now] = truth
        self.order.append(now)


def _truth(release):
    found = {}
    for name in MEMBERS:
        unit = release.unit(logical_id(name))
        lines = map(json.loads, read_all(release.store, release.index(unit)))
        found[logical_id(name)] = {
            one["id"]: one for one in lines if one["resourceType"] == "ExplanationOfBenefit"
        }
    return found
