"""Finished units of a run, kept in its work folder for an attempt that goes on from there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from etl.pipeline.executor import Pieces, TaskOutput
from etl.pipeline.totals import outcome_from, outcome_to
from etl.pipeline.unit import UnitResult
from etl.rows import table_schema
from etl.sources.finished_steps import Inventory

_FOLDER: Final = "units"
_OUTCOME: Final = "outcome"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The finished units of one task in a work folder.

    A unit has files `units/<task>/<first>-<end>.<name>`; the list of the folder names them and
    their checksums once all of them are whole.

    Attributes:
        work: the folder.
        task: fingerprint of the task.
        inventory: the list of the folder.
    """

    work: Path
    task: str
    inventory: Inventory

    def find(self, unit: range) -> TaskOutput | None:
        """Return a unit that an earlier attempt finished; None where it did not."""
        step = self.inventory.step(self._name(unit))
        if step is None:
            return None
        begins = f"{self._name(unit)}."
        files = {name.removeprefix(begins): self.work / name for name in step.files}
        return TaskOutput(unit, outcome_from(files.pop(_OUTCOME).read_bytes()), files)

    def keep(self, unit: range, result: UnitResult) -> TaskOutput:
        """Keep the result of a unit."""
        (self.work / self._folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        pieces: dict[str, Pieces] = {**result.files, _OUTCOME: [outcome_to(result.outcome)]}
        paths = {}
        for name, parts in pieces.items():
            paths[name] = self.work / f"{self._name(unit)}.{name}"
            with paths[name].open("wb") as file:
                file.writelines(parts)
        self.inventory.add_files(self._name(unit), paths.values())
        del paths[_OUTCOME]
        return TaskOutput(unit, result.outcome, paths)

    def drop_others(self) -> None:
        """Delete the finished units of other tasks."""
        for path in (self.work / _FOLDER).glob("*"):
            if path.name != self.task:
                shutil.rmtree(path, ignore_errors=True)

    @property
    def _folder(self) -> str:
        return f"{_FOLDER}/{self.task}"

    def _name(self, unit: range) -> str:
        return f"{self._folder}/{unit.start:05d}-{unit.stop:05d}"


def save_directory(work: Path, tables: Mapping[str, pa.Table]) -> None:
    """Write the directory's accepted rows, for worker processes to map."""
    for name, table in tables.items():
        schema = table_schema(name)
        with pa.ipc.new_file(work / f"{name}.arrow", schema) as writer:
            writer.write_table(table.select(schema.names).cast(schema))


def open_directory(work: Path) -> dict[str, pa.Table]:
    """Return the directory's accepted rows that `save_directory` wrote."""
    tables = {}
    for name in ("organization", "practitioner"):
        with pa.ipc.open_file(work / f"{name}.arrow") as reader:
            tables[name] = reader.read_all()
    return tables
