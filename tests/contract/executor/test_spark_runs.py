"""Whole runs on Spark, as the command makes them: deltas, directories, tables of a lake."""

from datetime import date
from pathlib import Path

from etl.sources.extract.delta_tables import DeltaFiles
from etl.storage.local import LocalStore
from etl.synth import Spec, write_extract
from tests.contract.executor.spark import MARKS, end_java, spark_or_skip
from tests.e2e.commands import SAMPLES
from tests.given.lakes import as_tables, toml_of, write_lake
from tests.given.object_storage import BUCKET, SECRETS, sign_in_to_s3, start_weed
from tests.integration.nights import Payer, delta, full
from tests.unit.publish.samples import objects

pytestmark = list(MARKS)

LOCAL = {"workers": 1, "partition_rows": 200}
ANY_LOSS = {"rejected_claims": 1, "unowned_rows": 1000}
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


def publish_by_each(both, extract):
    """Return the trees of both payers after a night."""
    for payer in both:
        payer.run(extract)
    return [objects(LocalStore(payer.target)) for payer in both]


def test_a_delta_on_top_of_a_full_extract_makes_the_same_tree(tmp_path, monkeypatch):
    both = payers(tmp_path, monkeypatch, {"publish": {"deltas": True}})
    for extract in (full(tmp_path / "day0", 0), delta(tmp_path / "day1", 1)):
        trees = publish_by_each(both, extract)
        assert trees[0] == trees[1]
        assert any(name.startswith("rows/") for name in trees[0])


def test_a_directory_of_providers_makes_the_same_tree(tmp_path, monkeypatch):
    trees = publish_by_each(payers(tmp_path, monkeypatch, {}), SAMPLES / "directory")
    assert trees[0] == trees[1]
    assert any(name.startswith("bulk/") for name in trees[0])


def test_delta_tables_are_read_by_executors_alone_and_make_the_same_tree(tmp_path, monkeypatch):
    """Tables of claims are in a bucket, the others in a folder."""
    extract = tmp_path / "day0"
    write_extract(extract, Spec(15, since=date(2024, 12, 31), fault_rate=0.05))
    tables = as_tables(extract)
    claims = {name: rows for name, rows in tables.items() if name.startswith("claim")}
    others = {name: rows for name, rows in tables.items() if name not in claims}
    write_lake(tmp_path / "lake", others)
    sign_in_to_s3(monkeypatch, "publisher", SECRETS["publisher"])
    spark_or_skip()
    end_java()
    with start_weed(tmp_path / "weed") as server:
        bucket = {"AWS_ENDPOINT_URL": server.endpoint_url, "AWS_ALLOW_HTTP": "true"}
        write_lake(f"s3://{BUCKET}/lake", claims, bucket)
        options = ", ".join(f'{name} = "{value}"' for name, value in bucket.items())
        in_folder = {name: f'delta = "lake/{name}"' for name in tables}
        in_bucket = {
            name: f'delta = "s3://{BUCKET}/lake/{name}"\noptions = {{ {options} }}'
            for name in claims
        }
        named = toml_of(tmp_path, extract, in_folder | in_bucket)
        opened, open_file = list[str](), DeltaFiles.open

        def note(files, path):
            opened.append(path)
            return open_file(files, path)

        monkeypatch.setattr(DeltaFiles, "open", note)  # of the driver
        trees = []
        for payer in payers(tmp_path, monkeypatch, {"limits": ANY_LOSS}):
            opened.clear()
            payer.run(named)
            trees.append(objects(LocalStore(payer.target)))
    # The driver hashes each file and looks whether there are claims: executors read the rows.
    assert len(opened) == len(set(opened)) + 1
    assert len(set(opened)) > len(tables)
    assert trees[0] == trees[1]
    rejected = [name for name in trees[0] if name.startswith("quarantine/")]
    assert any("/claim-part-" in name for name in rejected)
