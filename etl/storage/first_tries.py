"""First tries of the requests that a run makes by the hundred thousand, made by obstore.

A put or a read of a small object takes boto3 1.0 to 1.3 ms of processor time, and obstore a seventh
of that, because it works outside Python. It tries each request once and hardly explains failures,
so boto3 repeats any failed request, with retries and messages
([decision 0039](../../docs/decisions/0039-requests-to-s3.md)).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store as Bucket

from etl.storage.port import StoreOptions

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from obstore.store import S3Credential

Answer = TypeVar("Answer")

LARGEST_PUT: Final = 4 * 1024 * 1024
"""Largest object to put this way, in bytes: for larger ones, the cost of a request is small beside
the transfer, and a time-out would waste all of it."""
_MAX_FAILURES: Final = 16
"""Failures without any success after which a bucket is left to boto3 alone."""
_TIMEOUT_FACTOR: Final = 20
"""Time limit of a request, as a multiple of the time that the server may be silent."""
_CREDENTIALS_LIFETIME: Final = timedelta(minutes=10)
"""Time for which credentials are used before they are looked up again. botocore hands out none that
end within ten minutes, if it can have others."""
_PRECONDITION_FAILED: Final = re.compile(r"status code: 412\b")


class FirstTries:
    """Requests that are made once. Methods may be called from several threads at once.

    Args:
        bucket: its name.
        endpoint_url: the server that boto3 would ask.
        region: the bucket's region.
        credentials: those of boto3's session, which renews them.
        options: encryption, storage class, time-outs.
    """

    def __init__(
        self,
        bucket: str,
        endpoint_url: str,
        region: str,
        credentials: Credentials,
        options: StoreOptions,
    ) -> None:
        config: dict[str, Any] = {
            "server_side_encryption": options.sse,
            "sse_kms_key_id": options.sse_key,
        }
        self._bucket = Bucket(
            bucket,
            endpoint=endpoint_url,
            region=region,
            credential_provider=_credential_provider(credentials),
            checksum_algorithm="SHA256",
            client_options={
                "allow_http": endpoint_url.startswith("http:"),
                "connect_timeout": timedelta(seconds=options.connect_seconds),
                "read_timeout": timedelta(seconds=options.read_seconds),
                "timeout": timedelta(seconds=options.read_seconds * _TIMEOUT_FACTOR),
            },
            retry_config={"max_retries": 0},
            **{name: value for name, value in config.items() if value is not None},
        )
        self._attributes = {"Storage-Class": options.storage_class} if options.storage_class else {}
        self._failures = 0
        self._has_succeeded = False

    def put(self, path: str, data: bytes) -> bool | None:
        """Write an object if the key is free.

        Returns:
            Whether the object was written; None if uncertain.
        """

        def write() -> bool | None:
            try:
                obstore.put(
                    self._bucket,
                    path,
                    data,
                    attributes=self._attributes,
                    mode="create",
                    use_multipart=False,
                )
            except AlreadyExistsError as error:
                # obstore calls it so as well where another writer is under way, and may fail.
                return False if _PRECONDITION_FAILED.search(str(error)) else None
            return True

        return self._try(write)

    def get(self, path: str) -> bytes | None:
        """Return an object; None if that failed or it is missing."""
        return self._try(lambda: bytes(obstore.get(self._bucket, path).bytes()))

    def get_range(self, path: str, start: int, length: int) -> bytes | None:
        """Return a byte range of an object; None if that failed or it is missing."""
        return self._try(
            lambda: bytes(obstore.get_range(self._bucket, path, start=start, length=length))
        )

    def _try(self, request: Callable[[], Answer | None]) -> Answer | None:
        """Make a request once; None if it failed, or after too many failures."""
        if self._failures >= _MAX_FAILURES and not self._has_succeeded:
            return None
        try:
            answer = request()
        except FileNotFoundError:
            return None
        except (BaseError, OSError, ValueError):
            self._failures += 1
            return None
        self._has_succeeded = True
        return answer


def _credential_provider(credentials: Credentials) -> Callable[[], S3Credential]:
    def provide() -> S3Credential:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key or "",
            "secret_access_key": frozen.secret_key or "",
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LIFETIME,
        }

    return provide
