"""The size of what executors return."""

import csv
from dataclasses import dataclass, field, replace
from datetime import date

import tests.contract.executor.test_executor_contract as contract
from etl.pipeline.context import RunOptions
from etl.pipeline.one_off import validate
from etl.pipeline.totals import outcome_to
from etl.sources.partition.partitions import unit_tables
from etl.spark.pickling import packed
from etl.synth import Spec, write_extract
from tests.contract.executor.direct import DirectExecutor


@dataclass
class MeasuringExecutor(DirectExecutor):
    """Adds up bytes of units.

    Attributes:
        sizes: of each unit, the bytes of its rows as they are sent, and of all that comes back.
    """

    sizes: list[tuple[int, int]] = field(default_factory=list)

    def process(self, read, task, definitions):
        for done in super().process(read, task, definitions):
            sent = len(packed(unit_tables(read.partitions, done.unit)))
            files = sum(path.stat().st_size for path in done.files.values())
            self.sizes.append((sent, files + len(outcome_to(done.outcome))))
            yield done


def test_units_whose_rows_are_all_rejected_return_little_more_than_was_sent(tmp_path):
    """The quarantine is then the extract, and comes back group by group."""
    extract, executor = tmp_path / "extract", MeasuringExecutor()
    write_extract(extract, Spec(12, since=date(2024, 1, 1), seed=5))
    (extract / "manifest.json").unlink()
    claims = extract / "claim.csv"
    with claims.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with claims.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | {"member_id": f"no-{row['member_id']}"} for row in rows)
    payer = contract.Payer(contract.load(), tmp_path / "payer")
    context = payer.context(executor, extract, contract.FIRST)
    (tmp_path / "report").mkdir()
    validate(replace(context, options=RunOptions(partition_rows=20_000)), tmp_path / "report")
    sent, returned = (sum(sizes) for sizes in zip(*executor.sizes, strict=True))
    (quarantine,) = (tmp_path / "report").rglob("quarantine/**/claim.csv")
    assert quarantine.read_text().count("\n") > len(rows)

    assert returned < 2 * sent
