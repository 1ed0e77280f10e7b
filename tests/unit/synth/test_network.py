"""Synthetic provider directories: the same for the same seed, and with the providers of claims."""

import json

import pytest

from etl.errors import UsageError
from etl.model.data_models import DIRECTORY
from etl.synth import Spec, write_extract, write_network
from etl.synth.faults import NETWORK_FAULTS
from tests.e2e.commands import SAMPLES, rows_of
from tests.unit.synth.written import hashes

SMALL = Spec(practitioners=10, seed=7)
KEYS = {table.file or name: table.key for name, table in DIRECTORY.tables.items()}


def rows(folder, name):
    return rows_of(folder / f"{name}.csv")


def test_the_samples_list_every_provider_of_the_claims_samples():
    for name in ("practitioner", "organization"):
        claimed = {row["npi"] for row in rows(SAMPLES, name) if row["npi"]}
        listed = {row["npi"] for row in rows(SAMPLES / "directory", name)}
        assert claimed
        assert claimed <= listed


def test_the_samples_hold_every_column():
    assert len(DIRECTORY.tables) == 13
    empty = [
        f"{table.name}.{column}"
        for table in DIRECTORY.tables.values()
        for column in table.names
        if not any(row[column] for row in rows(SAMPLES / "directory", table.file or table.name))
    ]
    assert empty == []


def test_the_deltas_of_all_days_on_top_of_day_0_are_the_directory_of_the_last(tmp_path):
    def written(**choices):
        name = "-".join(map(str, choices.values())) or "start"
        write_network(tmp_path / name, Spec(practitioners=68, seed=7, **choices))
        return tmp_path / name

    start, end = written(), written(day=3)
    deltas = [written(kind="delta", day=day) for day in (1, 2, 3)]
    changed = 0
    for name, key in KEYS.items():
        now = {tuple(row[column] for column in key): row for row in rows(start, name)}
        for delta in deltas:
            for row in rows(delta, name):
                assert row["record_action"] == "U"
                now[tuple(row[column] for column in key)] = row | {"record_action": "A"}
                changed += 1
        assert list(now.values()) == rows(end, name), name
    assert changed == 12


def test_every_kind_of_fault_is_planted_and_listed(tmp_path):
    spec = Spec(practitioners=34, seed=5, fault_rate=1)
    written = write_network(tmp_path, spec)
    ledger = rows(tmp_path, "faults")
    assert {row["fault"] for row in ledger[1:]} == {fault.rule for fault in NETWORK_FAULTS}
    assert written.faults == len(ledger) - 1
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["layout"] == "cpcds-directory"


def test_a_directory_is_not_written_among_claims(tmp_path):
    write_extract(tmp_path, Spec(members=1))
    before = hashes(tmp_path)
    with pytest.raises(UsageError, match="of another extract"):
        write_network(tmp_path, SMALL)
    assert hashes(tmp_path) == before
