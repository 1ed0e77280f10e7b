"""A publisher to be killed: publishes extract after extract to a folder until it is told to stop.

    python publish_forever.py FOLDER FIRST LAST

Extract N is always the same, and so is its clock; what is published already is skipped.
"""

import sys
from datetime import UTC, datetime, timedelta

from etl.publish.block import PatientResources
from etl.publish.manifest import ReleaseFacts
from etl.publish.reader import open_current
from etl.publish.release import commit
from etl.storage.local import LocalStore
from etl.storage.port import Store
from tests.unit.publish.samples import claim, logical_id, patient, stage

PEOPLE = 12


def extract(number: int) -> list[PatientResources]:
    """Return extract `number`: one more claim for some, one patient less, one more."""
    people = []
    for person in range(number, number + PEOPLE):
        name = f"p{person}"
        claims = [claim(name, 100 + n, "2023-01-01") for n in range(number % 3)]
        resources = [*patient(name, 3).resources, *claims]
        people.append(PatientResources(logical_id(name), resources))
    return people


def run(store: Store, number: int) -> None:
    """Publish extract `number`, unless the present release was made from it or a later one."""
    base = open_current(store)
    done = -1 if base.release is None else base.release.manifest.facts.inputs[0]["name"]
    if number <= int(done):
        return
    facts = ReleaseFacts("full", inputs=[{"name": str(number)}])
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)
    stamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    commit(store, stage(store, extract(number), base, now=stamp, facts=facts), base)


if __name__ == "__main__":
    folder, first, last = sys.argv[1:]
    for extract_number in range(int(first), int(last) + 1):
        run(LocalStore(folder), extract_number)
        print(extract_number, flush=True)  # noqa: T201 - the parent reads it
