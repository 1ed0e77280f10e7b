"""A unit of two members, from files to its result: what tests of units share.

M1 has all claims of the world but the dental one, which M2 has.
"""

import json
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from etl.bootstrap.settings import read_settings
from etl.columns.digests import hash_ids
from etl.pipeline.context import Task
from etl.pipeline.incremental.cache import CachedResults
from etl.pipeline.incremental.dependencies import Dependencies, directory_digests
from etl.pipeline.incremental.reuse import ReusableResults
from etl.pipeline.partition.directory import check_directory
from etl.pipeline.partition.mapping import PartitionContext
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.progress import ignore
from etl.pipeline.unit import UnitContext, process_unit
from etl.publish.kept_objects import RangeRef
from etl.publish.reader import Tree
from etl.sources.extract.opening import open_extract
from etl.sources.partition.reading import partition_extract
from tests.e2e.commands import same_definitions
from tests.unit.quality.world import world
from tests.unit.sources.extracts import write_extract

OF_M2 = 4
"""Number of M2's claim."""


def two_members():
    """Return a world in which both members have claims, and the directory knows the payer."""
    of = world()
    of["claim"][OF_M2] |= {"member_id": "M2", "coverage_id": "C2"}
    of["organization"] = [{"organization_id": "P1", "name": "Payer", "kind": "payer"}]
    return of


def definitions():
    """Return the product's rules and mappings."""
    return same_definitions(read_settings(None))


def cut(of, folder, count=1):
    """Write a world as an extract, and cut it with digests."""
    extract = open_extract(write_extract(folder / "in", of), ())
    return partition_extract(extract, folder / "work", partitions=count, digests=True)


def directory_of(rows):
    """Return the accepted directory."""
    decided, _ = check_directory(rows.directory(), definitions(), as_of=None)
    return providers_of(decided.accepted, definitions())


def owner(member):
    """Return the hash of a member's id."""
    return int(hash_ids(pa.array([member]))[0])


@dataclass(frozen=True, slots=True)
class ListedFile:
    """Writes how many resources there are of each type, and who stays as he is."""

    def __call__(self, made, kept, store, /):
        del store
        types = Counter()
        for one in made:
            types[one.plan.resource] += sum(len(run.ids) for run in one.runs)
        return {"made": [json.dumps(+types).encode()], "kept": [json.dumps([*kept]).encode()]}


@dataclass(frozen=True, slots=True)
class ClaimsOf:
    """Writes the ids of the claims of one member."""

    member: str

    def selects(self, members):
        return members == owner(self.member)

    def __call__(self, decided, places, owners, /):
        claims = decided.work.frames["claim"]
        mine = places[owners == owner(self.member)]
        rows = np.isin((claims.files.astype(np.int64) << 40) | claims.rows, mine)
        ids = claims.cells("claim_id").text.filter(pa.array(rows)).to_pylist()
        return {"claims": [json.dumps(ids).encode()]}


TASK = Task(ListedFile(), {}, None, None)


def process(rows, store=None, task=TASK, unit=range(1), emit=ignore):
    """Process a unit of an extract."""
    of = definitions()
    partition_context = PartitionContext(of, directory_of(rows), None)
    context = UnitContext(partition_context, Dependencies.find(of), task)
    return process_unit(context, unit, rows, rows.keys, store and Tree(store), emit)


def night_after(result, rows):
    """Return the task of a night after a release of one unit."""
    count = rows.facts.count
    names = directory_digests(directory_of(rows), Dependencies.find(definitions()))
    ledgers = [RangeRef.from_ref(result.outcome.ledger, range(count))]
    return replace(TASK, previous=ReusableResults(CachedResults(ledgers, count, None, names, None)))


def texts(result):
    """Return the files of a result that are JSON."""
    return {
        name: json.loads(b"".join(pieces))
        for name, pieces in result.files.items()
        if not name.startswith("rejected")
    }
