"""Whole runs on Spark, as the command makes them: deltas, and a directory of providers."""

from pathlib import Path

from etl.storage.local import LocalStore
from tests.contract.executor.spark import MARKS, spark_or_skip
from tests.e2e.commands import SAMPLES
from tests.integration.nights import Payer, delta, full
from tests.unit.publish.samples import objects

pytestmark = list(MARKS)

LOCAL = {"workers": 1, "partition_rows": 200}
SPARK = {**LOCAL, "executor": "spark", "master": "local[2]"}


def payers(folder, patch, settings):
    """Return a payer whose runs are on this machine, and one whose runs are on Spark."""
    spark_or_skip()
    patch.setenv("PYTHONPATH", str(Path.cwd()))
    patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    local, spark = (
        Payer(folder / name, patch, {"run": run, **settings})
        for name, run in (("local", LOCAL), ("spark", SPARK))
    )
    return local, spark


def test_a_delta_on_top_of_a_full_extract_makes_the_same_tree(tmp_path, monkeypatch):
    both = payers(tmp_path, monkeypatch, {"publish": {"deltas": True}})
    for extract in (full(tmp_path / "day0", 0), delta(tmp_path / "day1", 1)):
        trees = []
        for payer in both:
            payer.run(extract)
            trees.append(objects(LocalStore(payer.target)))
        assert trees[0] == trees[1]
        assert any(name.startswith("rows/") for name in trees[0])


def test_a_directory_of_providers_makes_the_same_tree(tmp_path, monkeypatch):
    trees = []
    for payer in payers(tmp_path, monkeypatch, {}):
        payer.run(SAMPLES / "directory")
        trees.append(objects(LocalStore(payer.target)))
    assert trees[0] == trees[1]
    assert any(name.startswith("bulk/") for name in trees[0])
