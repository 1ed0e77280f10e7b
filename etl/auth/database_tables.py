"""Tables of the authorization server's database.

Instants are whole seconds since 1970 in UTC, so that both databases compare them alike. Secrets,
codes, refresh tokens and session ids, which are random and 256 bits long, are SHA-256 hashes. No
usable credential can be read out of this database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {int: BigInteger, str: String(255), dict[str, Any]: JSON}  # noqa: RUF012


class DeveloperRow(Base):
    """A developer's account."""

    __tablename__ = "developer"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    organization: Mapped[str]
    created: Mapped[int]


class AppRow(Base):
    """A registered app."""

    __tablename__ = "app"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    developer: Mapped[str] = mapped_column(index=True)
    draft: Mapped[dict[str, Any]]
    status: Mapped[str]
    origin: Mapped[str]
    created: Mapped[int]
    secret_hash: Mapped[str]
    secret_made: Mapped[int | None]
    is_plain: Mapped[bool]
    is_approved: Mapped[bool]
    disabled_by: Mapped[str]


class ConsentRow(Base):
    """A member's consent. Its tokens are a family, which ends with it."""

    __tablename__ = "consent"
    __table_args__ = (Index("consent_patient", "patient", "client_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("app.client_id"), index=True)
    patient: Mapped[str]
    scope: Mapped[str] = mapped_column(Text)
    given: Mapped[int]
    expires: Mapped[int]
    revoked: Mapped[int | None]
    last_used: Mapped[int | None]
    auth_time: Mapped[int]


class CodeRow(Base):
    """An authorization code."""

    __tablename__ = "authorization_code"

    hash: Mapped[str] = mapped_column(primary_key=True)
    consent_id: Mapped[str] = mapped_column(ForeignKey("consent.id"))
    client_id: Mapped[str]
    redirect_uri: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    code_challenge: Mapped[str]
    nonce: Mapped[str] = mapped_column(Text)
    expires: Mapped[int] = mapped_column(index=True)
    used: Mapped[int | None]


class RefreshRow(Base):
    """A refresh token. `used` is set by the one request that rotates it."""

    __tablename__ = "refresh_token"

    hash: Mapped[str] = mapped_column(primary_key=True)
    consent_id: Mapped[str] = mapped_column(ForeignKey("consent.id"), index=True)
    client_id: Mapped[str]
    scope: Mapped[str] = mapped_column(Text)
    issued: Mapped[int]
    expires: Mapped[int] = mapped_column(index=True)
    used: Mapped[int | None]


class RevocationRow(Base):
    """A revocation, kept until the last token that it applies to has expired."""

    __tablename__ = "revocation"

    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[int] = mapped_column(index=True)


class KeyRow(Base):
    """A signing key; the private key is encrypted."""

    __tablename__ = "signing_key"
    __table_args__ = (UniqueConstraint("use", "generation", name="signing_key_generation"),)

    kid: Mapped[str] = mapped_column(primary_key=True)
    use: Mapped[str]
    generation: Mapped[int]
    public: Mapped[dict[str, Any]]
    private: Mapped[str] = mapped_column(Text)
    signs_from: Mapped[int]
    signs_until: Mapped[int]
    published_until: Mapped[int]


class AssertionRow(Base):
    """A client assertion or a sign-in link that was used, until it expires."""

    __tablename__ = "assertion"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    jti_hash: Mapped[str] = mapped_column(primary_key=True)
    expires: Mapped[int] = mapped_column(index=True)


class SessionRow(Base):
    """A signed-in developer or member."""

    __tablename__ = "session"

    hash: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    signed_in: Mapped[int]
    seen: Mapped[int]
    expires: Mapped[int] = mapped_column(index=True)


class FailureRow(Base):
    """Failed sign-ins of one account or from one address."""

    __tablename__ = "failure"

    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    last: Mapped[int] = mapped_column(index=True)
    locked_until: Mapped[int]


class AccessRow(Base):
    """Daily count of an app's reads of one type for one member; shown to the member."""

    __tablename__ = "access"

    consent_id: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str]
    patient: Mapped[str] = mapped_column(index=True)
    count: Mapped[int]
    last: Mapped[int]


class YearRow(Base):
    """Counts of a year that is over; its daily counts by member are deleted."""

    __tablename__ = "access_year"

    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    members: Mapped[int]
    more_than_once: Mapped[int]
    several_apps: Mapped[int]
    apps: Mapped[dict[str, Any]]


class TrailRow(Base):
    """Verified extent of an audit file: what it must still hold."""

    __tablename__ = "audit_trail"

    file: Mapped[str] = mapped_column(primary_key=True)
    opened: Mapped[int]
    events: Mapped[int]
    head: Mapped[str]
