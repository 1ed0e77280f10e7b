"""Opening the store of a target by its name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from etl.errors import UsageError
from etl.storage.local import LocalStore
from etl.storage.port import Store, StoreOptions


def open_store(target: str, options: StoreOptions | None = None) -> Store:
    """Return the store of a target: a folder's path, or `s3://bucket/prefix`.

    Nothing is read or written yet. Credentials for S3 come from AWS's usual chain.

    Raises:
        UsageError: the target is neither of the two.
    """
    scheme, separator, _ = target.partition("://")
    if not separator:
        if not target:
            raise UsageError("the target is empty: use a folder or s3://bucket/prefix")
        options = options or StoreOptions()
        return LocalStore(Path(target), mode=options.mode, closed=options.closed)
    if scheme != "s3":
        raise UsageError(f"{target}: a target is a folder or s3://bucket/prefix, not {scheme}://")
    url = urlsplit(target)
    if not url.netloc:
        raise UsageError(f"{target}: it has no bucket; write s3://bucket/prefix")
    from etl.storage.s3 import S3Store  # boto3 is slow to load, and not needed for a folder

    return S3Store(url.netloc, url.path.strip("/"), options or StoreOptions())
