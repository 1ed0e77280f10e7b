"""Small patients to publish. The words in them are made up."""

from datetime import UTC, datetime

from etl.model import logical_ids
from etl.publish.block import LISTED, ROW, PatientResources, Resource
from etl.publish.bulk import with_bulk
from etl.publish.bulk_files import BulkOptions
from etl.publish.bulk_pages import write_pages
from etl.publish.canonical_json import dumps
from etl.publish.directory import write_directory
from etl.publish.manifest import ReleaseFacts
from etl.publish.partition_writer import SavedPartition, write_partition
from etl.publish.reader import Release, open_current
from etl.publish.release import assemble, commit
from tests.memory_store import MemoryStore

NOW = "2026-11-24T16:25:19Z"
LATER = "2026-11-25T16:25:19Z"
PAYER = "samples"
ID_KEY = b"no secret, but as long as one has to be"
BULK = BulkOptions()
PROFILE = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"


def logical_id(name):
    """Return the id that the pipeline gives the Patient of a member id; here others have it too."""
    return logical_ids.logical_id(PAYER, ID_KEY, "Patient", name)


def resource(resource_type, key, /, *, last_updated=None, search=None, profile=None, **elements):
    """Return one resource; `key` stands for its business key.

    One of the directory has a row of its own there, unless `search` says otherwise.
    """
    if search is None and resource_type in ("Organization", "Practitioner"):
        search = {LISTED: [ROW]}
    body = f'"profile":["{PROFILE}{profile or f"C4BB-{resource_type}"}|2.2.0"]}}'.encode()
    if elements:
        body += b"," + dumps(elements)[1:-1]
    return Resource(
        resource_type,
        logical_id(key),
        body + b"}",
        last_updated,
        dumps({name: texts for name, texts in (search or {}).items() if texts}),
    )


def claim(patient, number, day, *, amount="12.50", **more):
    """Return an ExplanationOfBenefit of one service day; `owner` is whose it became."""
    owner = more.get("owner", patient)
    return resource(
        "ExplanationOfBenefit",
        f"{patient}-claim-{number}",
        last_updated=more.get("last_updated"),
        search={
            "billable-period-start": [day],
            "identifier": [f"|{patient}-{number}"],
            "service-date": [f"{day}/{day}"],
            "type": ["http://terminology.hl7.org/CodeSystem/claim-type|pharmacy"],
        },
        status="active",
        patient={"reference": f"Patient/{logical_id(owner)}"},
        insurer={"reference": f"Organization/{logical_id('payer')}"},
        insurance=[{"coverage": {"reference": f"Coverage/{logical_id(owner + '-coverage')}"}}],
        payment={"amount": {"value": amount, "currency": "USD"}},
    )


def patient(name, claims, **more):
    """Return a patient with a coverage and some claims, one a day, the first on 2020-01-01."""
    resources = [
        resource("Patient", name, name=[{"family": name}]),
        resource(
            "Coverage",
            f"{name}-coverage",
            search={"patient": [f"Patient/{logical_id(name)}"]},
            status="active",
            beneficiary={"reference": f"Patient/{logical_id(name)}"},
        ),
    ]
    for number in range(claims):
        year, day = divmod(number, 336)
        month, day = divmod(day, 28)
        date = f"{2020 + year}-{month + 1:02}-{day + 1:02}"
        resources.append(claim(name, number, date, **more))
    return PatientResources(logical_id(name), resources)


def payer():
    """Return the organization that all claims name."""
    return resource("Organization", "payer", name="Payer")


def publish(store, patients, *, base=None, key=None, **more):
    """Publish a full extract, in one partition or in several."""
    base = base or open_current(store)
    manifest = stage(store, patients, base, **more)
    commit(store, manifest, base, key=key)
    return Release(store, manifest)


def publish_with_bulk(store, patients, now, options=BULK, **more):
    """Publish a full extract, its bulk files and their pages."""
    base = open_current(store)
    manifest = with_bulk(store, base, stage(store, patients, base, now=now, **more), options)
    commit(store, manifest, base)
    write_pages(store, options)
    return Release(store, manifest)


def stage(store, patients, base, *, directory=None, now=NOW, partitions=1, facts=None, stay=()):
    """Write all of a release but the pointer to it.

    Args:
        stay: ids of patients who keep what they have, without being rendered.
    """
    held = list(patients)
    results = []
    for number in range(partitions):
        part = held[number::partitions]
        units = base.release.units(one.patient_id for one in part) if base.release else {}
        results.append(write_partition(store, units, part, now).keeping(stay if not number else ()))
    shared = write_directory(store, base.release, directory or [payer()], now)
    return assemble(store, base, results, shared, facts or ReleaseFacts("full"), now)


def objects(store):
    """Return everything that is in a store."""
    return {entry.key: store.get(entry.key) for entry in store.list()}


def without_pointer(store):
    """Return all objects but the pointer, which each prune writes anew."""
    return {key: data for key, data in objects(store).items() if key != "current.json"}


def lose(store, key):
    """Delete an object."""
    store.delete([key])


def flip(store, key):
    """Flip a bit of an object, which keeps its size."""
    data = store.get(key)
    store.delete([key])
    store.put(key, data[:-1] + bytes([data[-1] ^ 1]))


def saved(result, path):
    """Write a partition to a file, and return it as it is read from there."""
    path.write_bytes(b"".join(result.lines()))
    return SavedPartition(path)


class CountingStore(MemoryStore):
    """Notes which keys are read, how many bytes of them, and which keys are written.

    Its objects all look as if written long ago.
    """

    def __init__(self):
        super().__init__(lambda: datetime(2020, 1, 1, tzinfo=UTC))
        self.reads = []
        self.writes = []

    def get(self, key):
        data = super().get(key)
        self.reads.append((key, len(data)))
        return data

    def get_range(self, key, start, length):
        data = super().get(key)[start : start + length]
        self.reads.append((key, len(data)))
        return data

    def put(self, key, data):
        self.writes.append(key)
        return super().put(key, data)

    def swap(self, key, data, expected):
        self.writes.append(key)
        return super().swap(key, data, expected)
