"""Units that Spark does twice, executors that die one after the other, drivers that are killed."""

import sys

import pytest

from etl.storage.port import StoreOptions
from tests.contract.executor.faulty_target import FaultyTarget
from tests.contract.executor.spark import MARKS, cluster, on_spark
from tests.contract.executor.spark_programs import standalone_cluster
from tests.contract.executor.test_executor_contract import Payer, load

pytestmark = [*MARKS, pytest.mark.long]

SPECULATION = {
    "spark.speculation": "true",
    "spark.speculation.interval": "50ms",
    "spark.speculation.quantile": "0.1",
    "spark.speculation.multiplier": "1.1",
    "spark.speculation.minTaskRuntime": "0",
    "spark.driver.host": "127.0.0.1",
}
"""A task that takes a tenth longer than the first ones that ended is begun once more."""


@pytest.mark.parametrize(("deaths", "losses"), [(0, 0), (2, 1)], ids=["none dies", "three die"])
def test_a_unit_that_two_executors_do_at_a_time_leaves_the_same_tree(
    definitions, extract, expected, tmp_path, monkeypatch, deaths, losses
):
    """Of a unit that is slow Spark begins another attempt, on another host, while it goes on."""
    payer, markers = Payer(definitions, tmp_path / "payer"), tmp_path / "markers"
    markers.mkdir()
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    target = FaultyTarget(
        str(payer.target), StoreOptions(), markers=markers, deaths=deaths, losses=losses, slow=True
    )
    with (
        standalone_cluster(tmp_path, ("127.0.0.1", "127.0.0.2")) as url,
        cluster(url, SPECULATION) as session,
    ):
        payer.publish(on_spark(session, load), extract, 1, target=target)
    happened = {path.name for path in markers.iterdir() if not path.name.startswith(".")}
    assert happened >= {"slow", "again", *(f"death{number}" for number in range(deaths + losses))}
    assert (markers / "again").read_text() == (markers / "slow").read_text()
    assert payer.files() == expected
