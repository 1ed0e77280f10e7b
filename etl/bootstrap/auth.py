"""Build the authorization server from settings, for the served process and commands."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import logging
import os
import re
import secrets
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from etl.auth.configuration import LOOPBACK, AuthConfiguration, DemoDirectory, IdentityProvider
from etl.auth.database import (
    Database,
    latest_version,
    migrate,
    open_database,
    present_version,
)
from etl.auth.endpoints import quiet_logs
from etl.auth.mail import Mailer, MailServer, smtp_mailer
from etl.auth.members import IsPublished
from etl.auth.rate_limits import rates_of
from etl.auth.records import DemoMember
from etl.auth.registration import email_problem
from etl.auth.services import Services
from etl.auth.yearly_numbers import Programs
from etl.bootstrap.settings import Settings
from etl.errors import MappingError, Mistakes, UsageError
from etl.gateway.release.served_releases import Releases
from etl.model.logical_ids import logical_id
from etl.portal.site_file import read_site_file

log = logging.getLogger(__name__)

TIDY_SECONDS: Final = 3600
EDUCATION_PAGE: Final = "/your-data"
"""Page of the portal that explains sharing to members."""
SHORTEST_SECRET: Final = 32

_LETTERS: Final = str.maketrans(
    {"Ł": "L", "ł": "l", "Ø": "O", "ø": "o", "ß": "ss", "Đ": "D", "đ": "d"}
)
"""Letters that cannot be reduced by removing an accent."""


def mistakes_of(settings: Settings) -> Iterator[MappingError]:
    """Yield the errors in the settings of the authorization server."""
    auth = settings.auth
    parts = urlsplit(settings.serve.base_url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        yield MappingError(
            settings.origin("serve", "base_url"),
            "config-base-url",
            "an authorization server must use https, except for tests on loopback",
            hint="put a TLS proxy in front of it, and use its https:// address",
        )
    if auth.mode == "production" and auth.demo_members is not None:
        message = "made-up members are for the sandbox, because anyone can sign in as them"
        yield _config_error(settings, "demo_members", message)
    if auth.oidc_issuer and auth.demo_members is not None:
        message = "members sign in either here or at the identity provider, not both"
        yield _config_error(settings, "demo_members", message)
    if auth.oidc_issuer and not (auth.oidc_client_id and auth.oidc_client_secret):
        yield _config_error(
            settings, "oidc_issuer", "it also needs oidc_client_id and oidc_client_secret"
        )
    if auth.mode == "production" and auth.oidc_issuer.startswith("http://"):
        yield _config_error(settings, "oidc_issuer", "an identity provider must use https")
    if auth.mode == "production" and settings.is_demo_key:
        yield MappingError(
            "CPCDS_ID_KEY",
            "config-value",
            "setting id_key: with the public key, anyone can compute a Patient's ID",
        )
    try:
        rates_of(auth.limits)
    except ValueError as error:
        yield _config_error(settings, "limits", str(error))
    if auth.mail_server and email_problem(auth.mail_from):
        yield _config_error(settings, "mail_from", "mail needs a sender address")
    try:
        mailer_of(settings)
    except ValueError as error:
        yield _config_error(settings, "mail_server", str(error))
    if any(days < 1 for days in auth.consent_days):
        yield _config_error(settings, "consent_days", "a consent must last at least one day")


def prepared(settings: Settings) -> Settings:
    """Create the secret and update the tables; return settings for all processes.

    An SQLite database is migrated here; a PostgreSQL database by `cpcds auth migrate`, because
    several machines may be starting on it.

    Raises:
        MappingError: a setting is invalid, or the tables are of another version of this program.
        StoreError: the database does not answer.
    """
    Mistakes().report(mistakes_of(settings))
    secret = SecretStr(_secret(settings).decode())
    database = open_database(settings.auth.database)
    try:
        if database.is_sqlite:
            migrate(database)
        elif present_version(database) != latest_version():
            raise _config_error(
                settings,
                "database",
                "its tables are not those of this version",
                hint="cpcds auth migrate brings them up to date",
            )
    finally:
        database.close()
    auth = settings.auth.model_copy(update={"secret": secret})
    return settings.model_copy(update={"auth": auth})


def opened(
    settings: Settings,
    base_url: str,
    *,
    database: Database | None = None,
    releases: Releases | None = None,
) -> Services:
    """Return the authorization server of the settings.

    Args:
        settings: as `prepared` returns them.
        base_url: its public URL, which is its issuer.
        database: the database; by default that of the settings.
        releases: the served releases, to refuse members without a Patient; None for commands.
    """
    quiet_logs()
    return Services(
        configuration(settings, base_url),
        database or open_database(settings.auth.database),
        settings.auth.audit,
        clock=lambda: datetime.now(UTC),
        randomness=secrets.token_bytes,
        patient_of=lambda member_id: patient_of(settings, member_id),
        is_published=None if releases is None else published_in(releases),
        rates=settings.auth.limits,
        mailer=mailer_of(settings),
    )


def mailer_of(settings: Settings) -> Mailer | None:
    """Return the mailer for developers; None if no mail server is configured.

    Raises:
        ValueError: the mail server's URL is none.
    """
    auth = settings.auth
    if not auth.mail_server:
        return None
    server = MailServer.of(auth.mail_server.get_secret_value(), auth.mail_from)
    return smtp_mailer(server, lambda: datetime.now(UTC))


def published_in(releases: Releases) -> IsPublished:
    """Return a function that checks whether the served release has a Patient."""

    async def is_published(patient: str) -> bool:
        return await releases.current().patient(patient) is not None

    return is_published


def expect_server(settings: Settings) -> None:
    """Refuse to administer an authorization server that is not configured.

    Raises:
        MappingError: `config-value`: it is off; a database would be created for nothing.
    """
    if settings.auth.mode == "off":
        raise _config_error(
            settings,
            "mode",
            "it is off, so there is no authorization server to manage",
            hint="use the server's own settings: its cpcds.toml, or CPCDS_AUTH__MODE and the rest",
        )


@contextmanager
def services(settings: Settings) -> Iterator[Services]:
    """Yield the authorization server's services for a command, then close them.

    Raises:
        MappingError: as `expect_server` and `prepared`.
    """
    expect_server(settings)
    settings = prepared(settings)
    server = opened(settings, settings.serve.base_url or "http://127.0.0.1")
    try:
        yield server
    finally:
        server.trail.close()
        server.database.close()


def configuration(settings: Settings, base_url: str) -> AuthConfiguration:
    """Return the authorization server's own configuration.

    Raises:
        MappingError: `config-value`: a file cannot be read, or `portal.toml` is wrong.
    """
    auth = settings.auth
    provider = None
    if auth.oidc_issuer:
        provider = IdentityProvider(
            issuer=auth.oidc_issuer,
            client_id=auth.oidc_client_id,
            client_secret=auth.oidc_client_secret.get_secret_value(),
            scope=auth.oidc_scope,
            member_claim=auth.oidc_member_claim,
        )
    demo = None
    if auth.demo_members is not None:
        demo = DemoDirectory(demo_members(settings, auth.demo_members))
    return AuthConfiguration(
        base_url=base_url,
        texts=read_site_file(settings.portal.file).page_texts(settings.payer.name),
        secret=_secret(settings),
        sandbox=auth.mode != "production",
        consent_days=auth.consent_days,
        plain_apps=auth.plain_apps,
        introspectors=auth.introspectors,
        identity_provider=provider,
        demo=demo,
        education_page=EDUCATION_PAGE if settings.portal.enabled else "",
    )


def patient_of(settings: Settings, member_id: str) -> str:
    """Return the logical ID of a member's Patient, as the pipeline computes it."""
    return logical_id(settings.payer.id, settings.id_key_bytes(), "Patient", member_id)


def read_programs(settings: Settings, file: Path) -> Programs:
    """Return the programs of members by patient, from a CSV file.

    Raises:
        UsageError: the file can't be read, lacks a column, or has a row without a member ID.
    """
    programs: dict[str, set[tuple[str, str]]] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            for column in ("member_id", "program", "contract_id"):
                if column not in (rows.fieldnames or ()):
                    raise UsageError(f"{file} lacks the column {column}")
            for row in rows:
                member_id, program, contract_id = (
                    (row[name] or "").strip() for name in ("member_id", "program", "contract_id")
                )
                if not member_id:
                    raise UsageError(f"{file}, line {rows.line_num}: member_id is empty")
                patient = logical_id(
                    settings.payer.id, settings.id_key_bytes(), "Patient", member_id
                )
                programs.setdefault(patient, set()).add((program, contract_id))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UsageError(f"{file} cannot be read as CSV in UTF-8") from None
    return programs


def demo_members(settings: Settings, file: Path) -> tuple[DemoMember, ...]:
    """Return the members of a `member.csv` (canonical layout) as a demo directory.

    User names are first names, with a number if several members share one.

    Raises:
        MappingError: `config-value`: there is no such file, or no member in it.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.DictReader(lines) if row.get("member_id")]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise _config_error(
            settings, "demo_members", f"{file} cannot be read as a member.csv"
        ) from None
    members: dict[str, DemoMember] = {}
    name_counts: dict[str, int] = {}
    for row in rows:
        member_id = row["member_id"].strip()
        if member_id in members or row.get("record_action") == "D":
            continue
        given_name, family = (
            (row.get("given_name") or "").strip(),
            (row.get("family_name") or "").strip(),
        )
        name = f"{given_name} {family}".strip() or (row.get("full_name") or "").strip() or member_id
        slug = _slug(name.split()[0]) or "member"
        name_counts[slug] = name_counts.get(slug, 0) + 1
        username = slug if name_counts[slug] == 1 else f"{slug}{name_counts[slug]}"
        members[member_id] = DemoMember(username, name, patient_of(settings, member_id))
    if not members:
        raise _config_error(settings, "demo_members", f"{file} has no row with a member_id")
    return tuple(members.values())


@asynccontextmanager
async def lifespan(services: Services) -> AsyncIterator[None]:
    """Delete expired rows periodically; finish the audit trail when the server stops."""

    async def tidying() -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            try:
                await run_in_threadpool(services.delete_expired)
            except SQLAlchemyError as error:
                log.warning("authorization server: nothing was tidied: %s", type(error).__name__)

    task = asyncio.create_task(tidying())
    try:
        yield
    finally:
        task.cancel()
        await run_in_threadpool(services.trail.close)
        services.database.close()


def _secret(settings: Settings) -> bytes:
    secret = settings.auth.secret.get_secret_value()
    if secret:
        if len(secret) < SHORTEST_SECRET:
            raise _config_error(
                settings, "secret", f"it needs at least {SHORTEST_SECRET} characters"
            )
        return secret.encode()
    url = open_database(settings.auth.database).engine.url
    if url.get_backend_name() != "sqlite" or not url.database:
        raise _config_error(
            settings,
            "secret",
            "it is required if several machines share the database",
            hint="set CPCDS_AUTH__SECRET to the same value on all of them",
        )
    return _kept_secret(Path(f"{url.database}.secret"))


def _kept_secret(file: Path) -> bytes:
    """Return the secret of a file that only its owner can read; create it if missing."""
    if not file.exists():
        new_file = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):  # another process was first: its secret is used
            os.link(new_file, file)
        new_file.unlink()
    stored_secret = file.read_bytes()
    if len(stored_secret) < SHORTEST_SECRET:
        message = f"setting auth.secret: {file} does not hold one"
        raise MappingError("auth.secret", "config-value", message)
    return stored_secret


def _slug(name: str) -> str:
    name = name.translate(_LETTERS)
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]", "", letters)


def _config_error(settings: Settings, setting: str, what: str, *, hint: str = "") -> MappingError:
    where = settings.origin("auth", setting)
    return MappingError(where, "config-value", f"setting auth.{setting}: {what}", hint=hint)
