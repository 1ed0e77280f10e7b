"""Opening the store of a target by its name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from etl.errors import UsageError
from etl.storage.local import OWNER, LocalStore
from etl.storage.port import Store


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings of a store. All but the last two are about object storage.

    Attributes:
        endpoint_url: an S3-compatible server other than AWS.
        region: where the bucket is; None leaves it to the usual AWS configuration.
        profile: name of a profile in the AWS configuration files.
        sse: server-side encryption of what is written.
        sse_key: KMS key for `aws:kms`; None takes the bucket's own.
        storage_class: for what is written, such as `STANDARD_IA`; None takes the bucket's default.
        concurrency: requests at once.
        attempts: tries of one request before it counts as failed.
        connect_seconds: how long to wait for a connection.
        read_seconds: how long to wait for an answer.
        part_bytes: objects larger than this are sent in parts of this size.
        mode: mode of a folder's folders; files have the same without the right to execute.
        closed: first folders of keys that stay their owner's, whatever the mode.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    sse: Literal["AES256", "aws:kms"] | None = None
    sse_key: str | None = None
    storage_class: str | None = None
    concurrency: int = 16
    attempts: int = 5
    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    part_bytes: int = 64 * 1024 * 1024
    mode: int = OWNER
    closed: tuple[str, ...] = ()


def open_store(target: str, options: StoreOptions | None = None) -> Store:
    """Return the store of a target: a folder's path, or `s3://bucket/prefix`.

    Nothing is read or written yet. Credentials for S3 come by AWS's usual chain.

    Raises:
        UsageError: the target is neither.
    """
    scheme, split, _ = target.partition("://")
    if not split:
        if not target:
            raise UsageError("the target is empty: name a folder or s3://bucket/prefix")
        options = options or StoreOptions()
        return LocalStore(Path(target), mode=options.mode, closed=options.closed)
    if scheme != "s3":
        raise UsageError(f"{target}: a target is a folder or s3://bucket/prefix, not {scheme}://")
    parts = urlsplit(target)
    if not parts.netloc:
        raise UsageError(f"{target}: there is no bucket in it; write s3://bucket/prefix")
    from etl.storage.s3 import S3Store  # boto3 takes a while to load, and a folder needs none of it

    return S3Store(parts.netloc, parts.path.strip("/"), options or StoreOptions())
