"""One unit of a small extract, published with something wrong between its rows and its bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random

import pyarrow as pa

from etl.bootstrap.opened_extract import opened
from etl.bootstrap.settings import read_settings
from etl.certificate.certificate import (
    Certificate,
    listed_differences,
    merge_comparisons,
    miscounted_tables,
)
from etl.columns.places import NO_SOURCES
from etl.pipeline.certificate import Certifying, certified_rows, compare_unit
from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.directory import check_directory
from etl.pipeline.partition.mapping import PartitionContext, check_and_map
from etl.pipeline.partition.providers import providers_of
from etl.pipeline.progress import ignore
from etl.pipeline.publish import BlockOutput
from etl.publish.partition_writer import CATALOG_ROWS
from etl.publish.reader import Tree
from etl.quality.check import check_totals
from etl.rows import table_schema
from etl.sources.partition.partitions import Loaded, Partitions
from etl.sources.partition.reading import partition_extract
from tests.given.tables import read_tables
from tests.memory_store import MemoryStore

NOW = "2026-01-02T03:00:00Z"


@dataclass(frozen=True)
class Unit:
    """The rows of one partition, read.

    Attributes:
        partitions: the extract.
        definitions: rules and mappings.
        loaded: the rows.
    """

    partitions: Partitions
    definitions: Definitions
    loaded: Loaded

    @classmethod
    def read(cls, extract, work, **settings):
        """Read a small extract, all of it in one partition."""
        work.mkdir()
        with opened(read_settings(None, run={"workers": 1}, **settings), extract, ignore) as job:
            rows = partition_extract(job.extract, work, partitions=1, digests=False, emit=ignore)
            return cls(rows, job.definitions, rows.load(0))

    def outcome(self, change=None, seed=0, definitions=None):
        """Publish the unit with a change to its rows or with other mappings.

        Returns:
            What came of it; None where there was nothing to change.
        """
        definitions, loaded = definitions or self.definitions, self.loaded
        if change is not None:
            tables = {name: table.to_pylist() for name, table in loaded.tables.items()}
            try:
                change(tables, Random(seed))
            except IndexError:
                return None
            made = {
                name: pa.Table.from_pylist(rows, schema=table_schema(name))
                for name, rows in tables.items()
            }
            loaded = replace(loaded, tables=made)
        directory, _ = check_directory(self.partitions.directory(), definitions, as_of=None)
        providers = providers_of(check_totals(directory).tables, definitions)
        context = PartitionContext(definitions, providers, None)
        _, checked, mapped = check_and_map(context, loaded, self.partitions.keys)
        store = Tree(MemoryStore())
        files = BlockOutput(None, NOW, NOW, ())(mapped.plan_resources, (), store)
        catalog = [bytes(line) for line in files[CATALOG_ROWS]]
        piece = compare_unit(
            Certifying(
                definitions.mappings.view.states_money,
                definitions.leave_out_superseded,
                None,
                None,
            ),
            certified_rows(self.loaded, checked),
            catalog,
            store,
            NO_SOURCES,
        )
        certificate, _ = merge_comparisons([piece])
        published = {name: each.published for name, each in checked.counts.items()}
        return Outcome(
            bytes_of=frozenset(json.loads(line).get("block", "") for line in catalog),
            rows=sum(each.quarantined for each in checked.counts.values()),
            wrong=certificate.unexplained + len(miscounted_tables(certificate, published)),
            certificate=certificate,
            facts=tuple(
                sorted({one.fact for one in listed_differences([piece]) if not one.reason})
            ),
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of publishing a unit.

    Attributes:
        bytes_of: keys of its blocks: the same keys are the same bytes.
        rows: rows in quarantine.
        wrong: differences that nothing explains.
        facts: which facts they are about.
        certificate: the comparison itself.
    """

    bytes_of: frozenset[str]
    rows: int
    wrong: int
    facts: tuple[str, ...]
    certificate: Certificate


# -- changes of rows on their way from the source to publication -----------------------------


def _filled(rows, random, column):
    return random.choice([row for row in rows if row[column]])


def _lost(table):
    def change(tables, random):
        tables[table].pop(random.randrange(len(tables[table])))

    return change


def claim_lost(tables, random):
    """Lose a claim with everything of it."""
    row = random.choice(tables["claim"])
    for name, rows in tables.items():
        if rows and "claim_id" in rows[0]:
            tables[name] = [each for each in rows if each["claim_id"] != row["claim_id"]]


def line_doubled(tables, random):
    """Send a line twice, under a number of its own."""
    rows = tables["claim_line"]
    row = dict(random.choice(rows))
    mine = [int(each["line_number"]) for each in rows if each["claim_id"] == row["claim_id"]]
    rows.append(row | {"line_number": str(max(mine) + 1), "_row": 900_000})
    rows.sort(key=lambda each: (each["claim_id"], int(each["line_number"])))


def claim_doubled(tables, random):
    """Send a claim twice, under a number of its own, with its lines."""
    row = random.choice(tables["claim"])
    for name in ("claim", "claim_line"):
        tables[name] += [
            each | {"claim_id": f"{row['claim_id']}X", "_row": 900_000 + at}
            for at, each in enumerate(tables[name])
            if each["claim_id"] == row["claim_id"]
        ]
        tables[name].sort(key=lambda each: (each["claim_id"], int(each.get("line_number") or 0)))


def _cent(table, by):
    def change(tables, random):
        column = random.choice(
            ["amount_submitted", "amount_eligible", "amount_benefit", "amount_memberliability"]
        )
        row = _filled(tables[table], random, column)
        text = row[column]
        if by == "cent":
            row[column] = text[:-1] + ("1" if text[-1] != "1" else "2")
        elif by == "sign":
            row[column] = text[1:] if text.startswith("-") else f"-{text}"
        else:
            row[column] = None

    return change


def category_swapped(tables, random):
    """Swap two amounts of a line."""
    rows = [
        row
        for row in tables["claim_line"]
        if row["amount_submitted"] and row["amount_eligible"] != row["amount_submitted"]
    ]
    row = random.choice(rows)
    row["amount_submitted"], row["amount_eligible"] = (
        row["amount_eligible"],
        row["amount_submitted"],
    )


def _shifted(table, column):
    def change(tables, random):
        row = _filled(tables[table], random, column)
        day = date.fromisoformat(row[column]) - timedelta(days=1)
        row[column] = day.isoformat()

    return change


def other_member(tables, random):
    """Give a claim to another member, with a coverage of that member."""
    row = random.choice(tables["claim"])
    others = [each for each in tables["coverage"] if each["member_id"] != row["member_id"]]
    cover = random.choice(others)
    row["member_id"], row["coverage_id"] = cover["member_id"], cover["coverage_id"]


def other_coverage(tables, random):
    """Give a claim to another coverage of the same member."""
    row = random.choice(tables["claim"])
    others = [
        each["coverage_id"]
        for each in tables["coverage"]
        if each["member_id"] == row["member_id"] and each["coverage_id"] != row["coverage_id"]
    ]
    row["coverage_id"] = random.choice(others)


def other_payer(tables, random):
    """Give a claim to another payer."""
    row = random.choice(tables["claim"])
    others = {each["payer_id"] for each in tables["claim"]} - {row["payer_id"]}
    row["payer_id"] = random.choice(sorted(others))


def other_status(tables, random):
    """Turn the status of a claim."""
    row = random.choice(tables["claim"])
    row["status"] = "active" if row["status"] == "cancelled" else "cancelled"


def line_moved(tables, random):
    """Move a line to another claim of the same type."""
    types = {row["claim_id"]: row["claim_type"] for row in tables["claim"]}
    row = random.choice(tables["claim_line"])
    others = [
        number
        for number, kind in types.items()
        if kind == types.get(row["claim_id"]) and number != row["claim_id"]
    ]
    row["claim_id"], row["line_number"] = random.choice(others), "77"
    tables["claim_line"].sort(key=lambda each: (each["claim_id"], int(each["line_number"])))


CHANGES = {
    "claim lost": claim_lost,
    "line lost": _lost("claim_line"),
    "member's birth date shifted": _shifted("member", "birth_date"),
    "claim doubled": claim_doubled,
    "line doubled": line_doubled,
    "line moved to another claim": line_moved,
    "cent of a claim moved": _cent("claim", "cent"),
    "cent of a line moved": _cent("claim_line", "cent"),
    "sign of a claim's amount turned": _cent("claim", "sign"),
    "sign of a line's amount turned": _cent("claim_line", "sign"),
    "amount of a claim dropped": _cent("claim", "drop"),
    "amount of a line dropped": _cent("claim_line", "drop"),
    "categories of a line swapped": category_swapped,
    "claim given to another member": other_member,
    "claim given to another coverage": other_coverage,
    "claim given to another payer": other_payer,
    "status turned": other_status,
    "statement date shifted": _shifted("claim", "statement_from_date"),
    "adjudication date shifted": _shifted("claim", "adjudication_date"),
    "paid date shifted": _shifted("claim", "paid_date"),
    "service date shifted": _shifted("claim_line", "service_from_date"),
}
"""What may go wrong with rows on their way -> how; an IndexError says that nothing can."""


# -- mistakes in mappings --------------------------------------------------------------------

MISTAKES = {
    mistake["case"]: (mistake["file"], mistake["text"], mistake["instead"])
    for mistake in read_tables(__file__)["mistakes"]
}
"""What may be wrong in a mapping -> file, its text, the text in its place."""
