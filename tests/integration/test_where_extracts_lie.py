"""The same extract from a folder, an archive and a bucket: the same published tree."""

from pathlib import Path
from shutil import make_archive

import boto3
import pytest

from etl.bootstrap import opened_extract
from etl.bootstrap.extracts import STAGED
from etl.pipeline.read import open_with
from etl.sources.files import stored_files
from tests.e2e.commands import invoke
from tests.given.object_storage import BUCKET, SECRETS, moto_bucket, start_weed
from tests.integration.nights import full, make_quick

pytestmark = pytest.mark.usefixtures("quick_commands")


@pytest.fixture(scope="module")
def extract(tmp_path_factory):
    return full(tmp_path_factory.mktemp("where") / "extract", 0)


def tree(extract, target):
    """Publish an extract, and return every file of the target but the records of runs."""
    called = invoke("run", extract, "--to", target)
    assert called.exit_code == 0, called.output
    assert list(target.glob(f"{STAGED}*")) == []
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file() and "runs" not in path.parts and path.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def from_folder(extract, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield tree(extract, tmp_path_factory.mktemp("from-folder"))


def archive(extract, kind, folder):
    """Pack the folder of an extract, as `zip` or `gztar`."""
    packed = make_archive(str(folder / "extract"), kind, extract.parent, extract.name)
    return Path(packed)


@pytest.fixture
def bucket(extract, monkeypatch):
    with moto_bucket(monkeypatch, "payer"):
        client = boto3.client("s3")
        for file in extract.iterdir():
            client.put_object(Bucket="payer", Key=f"in/2026 01/{file.name}", Body=file.read_bytes())
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("bucket")
def test_an_archive_in_a_bucket_publishes_the_tree_of_the_folder(extract, from_folder, tmp_path):
    packed = archive(extract, "zip", tmp_path).read_bytes()
    boto3.client("s3").put_object(Bucket="payer", Key="in/extract.zip", Body=packed)
    assert tree("s3://payer/in/extract.zip", tmp_path / "tree") == from_folder


@pytest.mark.slow
@pytest.mark.usefixtures("bucket")
def test_the_doctor_takes_an_archive_and_validate_a_prefix(extract, tmp_path):
    examined = invoke("doctor", archive(extract, "gztar", tmp_path))
    assert examined.exit_code == 0
    assert "claim_line.csv: " in examined.output
    assert list(tmp_path.rglob(f"{STAGED}*")) == []
    checked = invoke("validate", "s3://payer/in/2026 01", "--report", tmp_path / "report")
    assert checked.exit_code == 0


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("s3://payer/out", "s3://payer/out contains no objects; use the prefix of the extract"),
        ("s3://payer/in/no.zip", "s3://payer/in/no.zip contains no objects"),
        ("s3://payer/in", "s3://payer/in contains no files"),
        (
            "gs://payer/in",
            "gs://payer/in is not a folder: extracts are read from folders and s3://",
        ),
    ],
)
def test_an_address_where_no_extract_lies_is_one_sentence(address, sentence):
    called = invoke("validate", address, "--report", "report")
    assert called.exit_code == 2
    assert sentence in called.stderr
    assert called.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.usefixtures("bucket")
def test_an_object_that_is_replaced_while_it_is_read_stops_the_run(extract, tmp_path, monkeypatch):
    client = boto3.client("s3")

    def replaced(*arguments, **named):
        opened = open_with(*arguments, **named)
        body = (extract / "claim.csv").read_bytes()
        client.put_object(Bucket="payer", Key="in/2026 01/claim.csv", Body=body + b"\n")
        return opened

    monkeypatch.setattr(opened_extract, "open_with", replaced)
    called = invoke("run", "s3://payer/in/2026 01", "--to", tmp_path / "tree")
    assert called.exit_code == 2
    assert "claim.csv was replaced or deleted in the bucket while it was read" in called.stderr
    assert not (tmp_path / "tree" / "current.json").exists()


def test_a_broken_archive_leaves_nothing_behind(extract, tmp_path, monkeypatch):
    packed = archive(extract, "gztar", tmp_path)
    packed.write_bytes(packed.read_bytes()[:-400])
    called = invoke("run", packed, "--to", tmp_path / "tree")
    assert called.exit_code == 2
    assert called.stderr.endswith(
        "error: extract.tar.gz: the archive is broken or incomplete; copy it again\n"
    )
    assert [path.name for path in (tmp_path / "tree").iterdir()] == []


@pytest.mark.slow
def test_what_a_killed_run_unpacked_is_deleted_by_the_next_and_not_by_one_beside_it(
    extract, from_folder, tmp_path
):
    """Each kind of archive has its tests in tests/unit/sources/test_archives.py."""
    target = tmp_path / "tree"
    abandoned = target / f"{STAGED}0"
    abandoned.mkdir(parents=True)
    (abandoned / "claim.csv").write_text("claim_id\n")
    assert tree(archive(extract, "zip", tmp_path), target) == from_folder
    assert not abandoned.exists()


@pytest.mark.slow
def test_a_prefix_of_a_bucket_is_read_with_a_read_only_identity_of_a_real_server(
    extract, from_folder, tmp_path, monkeypatch
):
    with start_weed(tmp_path / "weed") as server:
        publisher = server.store("publisher", prefix="in/2026 01")
        for file in extract.iterdir():
            publisher.put(file.name, file.read_bytes())
        (tmp_path / "credentials").write_text(
            f"[reader]\naws_access_key_id = gateway\naws_secret_access_key = {SECRETS['gateway']}\n"
        )
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("CPCDS_EXTRACT__ENDPOINT_URL", server.endpoint_url)
        monkeypatch.setenv("CPCDS_EXTRACT__REGION", "us-east-1")
        monkeypatch.setenv("CPCDS_EXTRACT__PROFILE", "reader")
        monkeypatch.setattr(stored_files, "FIRST_BYTES", 1000)  # so that files have many ranges
        monkeypatch.setattr(stored_files, "MOST_BYTES", 5000)
        monkeypatch.setenv("CPCDS_RUN__WORKERS", "2")
        assert tree(f"s3://{BUCKET}/in/2026 01", tmp_path / "tree") == from_folder
        refused = invoke("validate", "s3://other/in", "--report", tmp_path / "report")
        assert refused.exit_code == 5
        assert "access denied" in refused.stderr
