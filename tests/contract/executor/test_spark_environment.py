"""Executors whose Python, libraries and program come from an archive that Spark unpacks."""

import tarfile

import pytest

from tests.contract.executor.spark import CLUSTER, MARKS, cluster, on_spark, spark_or_skip
from tests.contract.executor.test_executor_contract import Payer, load
from tests.given.environment import install_extra

pytestmark = [*MARKS, pytest.mark.long]

NEEDED = ("etl", "pyarrow")
ABSENT = ("pandas", "great_expectations", "scipy", "matplotlib", "starlette", "tests")
"""Packages that no executor needs; pyspark comes with Spark."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Return an environment with the extra `executor` and the program, packed."""
    spark_or_skip()
    folder = tmp_path_factory.mktemp("archive")
    environment = folder / "environment"
    install_extra(environment, "executor")
    packed = folder / "environment.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=1) as file:
        file.add(environment, "")
    return packed


def _places(session):
    """Return where executors have modules from; they have none of this package."""

    def found(batches):
        import sys
        from importlib.util import find_spec

        import pyarrow as pa

        schema = pa.schema({"name": pa.string(), "place": pa.string()})

        for batch in batches:
            for name in batch.column(0).to_pylist():
                place = find_spec(name)
                origin = None if place is None else place.origin
                yield pa.record_batch({"name": [name], "place": [origin]}, schema)
        yield pa.record_batch({"name": ["python"], "place": [sys.executable]}, schema)

    asked = session.createDataFrame([(name,) for name in (*NEEDED, *ABSENT)], "name string")
    rows = asked.repartition(1).mapInArrow(found, "name string, place string").collect()
    return {row.name: row.place for row in rows}


def test_executors_with_an_unpacked_archive_make_the_same_tree(
    archive, definitions, extract, expected, tmp_path, monkeypatch
):
    payer = Payer(definitions, tmp_path / "payer")
    monkeypatch.setenv("PYSPARK_PYTHON", "./environment/bin/python")
    settings = {"spark.archives": f"{archive}#environment"}
    with cluster(CLUSTER, settings, path="") as session:
        places = _places(session)
        payer.publish(on_spark(session, load), extract, 1)
    assert all("/environment/" in places[name] for name in ("python", *NEEDED)), places
    assert not any(places[name] for name in ABSENT), places
    assert payer.files() == expected
