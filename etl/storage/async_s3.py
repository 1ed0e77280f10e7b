"""Objects in S3 or any compatible store, read with obstore.

obstore is asynchronous and needs a quarter of boto3's processor time per read. Its retries are off:
`RetryingObjects` retries, for every kind of storage.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore.exceptions import (
    BaseError,
    GenericError,
    InvalidPathError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from etl.errors import NotFound, StoreError
from etl.storage.port import StoreOptions, Transient, check_key

_STATUS: Final = re.compile(r"status (?:code )?:?\s*([45]\d\d)|\b([45]\d\d) [A-Z]")
_TRANSIENT_STATUS: Final = frozenset({"408", "425", "429"})
_OPAQUE_STATUS: Final = {
    "301": "the bucket is in another region; set the region",
    "416": "the object ends before that; run verify",
}


class S3Objects:
    """Objects of a bucket, below a prefix.

    Args:
        bucket: name of the bucket.
        prefix: prefix of all keys, without a slash at its end; may be empty.
        options: endpoint, region, profile, and time limits. Credentials come from AWS's usual
            chain; for a profile, from boto3, which is only loaded then.
        read_seconds: time limit of one read, including the connection.
        credentials: access key ID and secret, instead of the chain.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        options: StoreOptions,
        *,
        read_seconds: float = 5.0,
        credentials: tuple[str, str] | None = None,
    ) -> None:
        self._name = f"s3://{bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        config: dict[str, Any] = {}
        if options.endpoint_url is not None:
            config["endpoint"] = options.endpoint_url
        if options.region is not None:
            config["region"] = options.region
        if credentials is not None:
            config["access_key_id"], config["secret_access_key"] = credentials
        elif options.profile is not None:
            config["credential_provider"] = _profile_credentials(options.profile)
        self._store = S3Store(
            bucket,
            client_options={
                "allow_http": (options.endpoint_url or "").startswith("http:"),
                "connect_timeout": timedelta(seconds=min(options.connect_seconds, read_seconds)),
                "timeout": timedelta(seconds=read_seconds),
            },
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=read_seconds)},
            **config,
        )

    @property
    def name(self) -> str:
        """`s3://bucket/prefix`."""
        return self._name

    @property
    def near(self) -> bool:
        """False: a read takes a millisecond or more."""
        return False

    async def get(self, key: str) -> bytes:
        """Return the whole object."""
        return await self._raise_store_errors(key, self._get(self._prefix + check_key(key)))

    async def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return exactly `length` bytes from `start` on."""
        path = self._prefix + check_key(key)
        data = await self._raise_store_errors(key, self._get_range(path, start, length))
        if len(data) != length:
            raise StoreError(f"{self._name}: {key} ends before byte {start + length}; run verify")
        return data

    async def _get(self, path: str) -> bytes:
        answer = await obstore.get_async(self._store, path)
        return bytes(await answer.bytes_async())

    async def _get_range(self, path: str, start: int, length: int) -> bytes:
        return bytes(await obstore.get_range_async(self._store, path, start=start, length=length))

    async def _raise_store_errors(self, key: str, reading: Awaitable[bytes]) -> bytes:
        failure = f"{self._name}: cannot read {key}"
        try:
            return await reading
        except FileNotFoundError:
            raise NotFound(f"{self._name}: there is no object {key}") from None
        except (PermissionDeniedError, UnauthenticatedError):
            raise StoreError(f"{failure}: access denied; check credentials and policy") from None
        except InvalidPathError:
            raise StoreError(f"{failure}: no such key is possible") from None
        except GenericError as error:
            raise _error_of_response(str(error), failure) from None
        except (BaseError, OSError) as error:
            raise Transient(f"{failure}: {type(error).__name__}") from None


def _error_of_response(message: str, failure: str) -> StoreError:
    """Return the error for a response; obstore only passes its status on as text."""
    match = _STATUS.search(message)
    status = (match[1] or match[2]) if match else ""
    if status in _OPAQUE_STATUS:
        return StoreError(f"{failure}: {_OPAQUE_STATUS[status]}")
    if not status or status >= "500" or status in _TRANSIENT_STATUS:
        return Transient(f"{failure}: {f'the server answered {status}' if status else 'no answer'}")
    return StoreError(f"{failure}: the server answered {status}")


def _profile_credentials(profile: str) -> Any:
    from obstore.auth.boto3 import Boto3CredentialProvider

    from etl.storage.s3 import profile_session  # boto3 is slow to load

    return Boto3CredentialProvider(profile_session(profile))
