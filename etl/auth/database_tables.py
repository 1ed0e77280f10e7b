"""Tables of the authorization server's database.

Instants are whole seconds since 1970 in UTC, so that both databases compare them alike. Secrets,
codes, refresh tokens and session ids, which are random and 256 bits long, are SHA-256 hashes. No
usable credential can be read out of this database.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from authlib.oauth2.rfc6749 import ClientMixin
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, relationship

from etl.auth.records import AppStatus, Origin
from etl.auth.registration import AppDraft


class Instant(sa.TypeDecorator[datetime]):
    """An instant with its zone; stored as whole seconds since 1970."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        """Return what is stored."""
        return None if value is None else int(value.timestamp())

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        """Return what was stored."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


class Words(sa.TypeDecorator[tuple[str, ...]]):
    """Words; stored as one text with blanks between them."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: sa.Dialect) -> str:
        """Return what is stored."""
        return " ".join(value or ())

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> tuple[str, ...]:
        """Return what was stored."""
        return tuple((value or "").split())


class DraftJson(sa.TypeDecorator[AppDraft]):
    """The draft of an app; stored as JSON.

    A stored draft is not checked again: the rules may have changed since it was registered.
    """

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: AppDraft | None, dialect: sa.Dialect) -> Any:
        """Return what is stored."""
        return None if value is None else value.model_dump(mode="json")

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> AppDraft:
        """Return what was stored."""
        fields: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in value.items()
        }
        return AppDraft.model_construct(**fields)


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Base of all tables. Rows are passed around as values after their session is closed."""

    type_annotation_map = {  # noqa: RUF012
        int: sa.BigInteger,
        str: sa.String(255),
        dict[str, Any]: sa.JSON,
        datetime: Instant,
        tuple[str, ...]: Words,
        AppDraft: DraftJson,
        AppStatus: sa.Enum(
            AppStatus,
            native_enum=False,
            length=255,
            values_callable=lambda statuses: [status.value for status in statuses],
        ),
        Origin: sa.String(255),
    }


class Developer(Base):
    """A developer's account on the portal.

    Attributes:
        id: random; not the e-mail address.
        email: lower case; sign-in links are sent to it.
        name: the person; may be empty, as the organization.
    """

    __tablename__ = "developer"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    organization: Mapped[str]
    created: Mapped[datetime]


class App(Base):
    """A registered app.

    Attributes:
        developer: id of the developer's account; empty if it has none.
        is_plain: whether it may use the plain authorize URL; granted by the payer (at once in
            sandbox mode), never by asking alone.
        disabled_by: `developer` or `operator`; empty if it is not disabled.
    """

    __tablename__ = "app"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    developer: Mapped[str] = mapped_column(index=True)
    draft: Mapped[AppDraft]
    status: Mapped[AppStatus]
    origin: Mapped[Origin]
    created: Mapped[datetime]
    secret_hash: Mapped[str] = mapped_column(repr=False)
    secret_made: Mapped[datetime | None]
    is_plain: Mapped[bool]
    is_approved: Mapped[bool]
    disabled_by: Mapped[str] = mapped_column(default="")

    @property
    def is_active(self) -> bool:
        """Whether the app may request consents and tokens."""
        return self.status is AppStatus.ACTIVE

    @property
    def revision(self) -> str:
        """Hash of the draft, 16 hex digits: only the reviewed draft can be approved."""
        draft = json.dumps(self.draft.model_dump(), sort_keys=True)
        return hashlib.sha256(draft.encode()).hexdigest()[:16]


class Consent(Base):
    """A member's consent: one app, some scopes, until a day. Its tokens end with it.

    Attributes:
        id: random; in access tokens as `grant_id`.
        patient: logical id of the member's Patient.
        revoked: when it was ended before its time; None if it was not.
        last_used: when the app last got or refreshed a token.
        auth_time: when the member signed in, in seconds since 1970.
    """

    __tablename__ = "consent"
    __table_args__ = (sa.Index("consent_patient", "patient", "client_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    client_id: Mapped[str] = mapped_column(sa.ForeignKey("app.client_id"), index=True)
    patient: Mapped[str]
    scopes: Mapped[tuple[str, ...]] = mapped_column("scope")
    given: Mapped[datetime]
    expires: Mapped[datetime]
    auth_time: Mapped[int]
    revoked: Mapped[datetime | None] = mapped_column(default=None)
    last_used: Mapped[datetime | None] = mapped_column(default=None)
    app: Mapped[App] = relationship(lazy="raise", init=False, repr=False, compare=False)

    def get_user_id(self) -> str:
        """Return the subject of tokens: the logical id, which reveals nothing by itself."""
        return self.patient

    def is_open(self, now: datetime) -> bool:
        """Return whether the consent is open: neither revoked nor expired."""
        return self.revoked is None and self.expires > now


class CodeRow(Base):
    """An authorization code, also as Authlib reads it."""

    __tablename__ = "authorization_code"

    hash: Mapped[str] = mapped_column(primary_key=True)
    consent_id: Mapped[str] = mapped_column(sa.ForeignKey("consent.id"))
    client_id: Mapped[str]
    redirect_uri: Mapped[str] = mapped_column(sa.Text)
    scope: Mapped[str] = mapped_column(sa.Text)
    code_challenge: Mapped[str]
    nonce: Mapped[str] = mapped_column(sa.Text)
    expires: Mapped[int] = mapped_column(index=True)
    used: Mapped[int | None]
    consent: Mapped[Consent] = relationship(lazy="joined", init=False, repr=False, compare=False)

    def get_redirect_uri(self) -> str:
        """Return the redirect URI of the authorization request."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return what was granted."""
        return self.scope

    def get_nonce(self) -> str | None:
        """Return the nonce of the authorization request."""
        return self.nonce or None

    def get_auth_time(self) -> int:
        """Return when the member signed in."""
        return self.consent.auth_time

    def get_acr(self) -> None:
        """Return None: only the identity provider knows it."""

    def get_amr(self) -> None:
        """Return None: only the identity provider knows it."""


class RefreshRow(Base):
    """A refresh token. `used` is set by the one request that rotates it."""

    __tablename__ = "refresh_token"

    hash: Mapped[str] = mapped_column(primary_key=True)
    consent_id: Mapped[str] = mapped_column(sa.ForeignKey("consent.id"), index=True)
    client_id: Mapped[str]
    scope: Mapped[str] = mapped_column(sa.Text)
    issued: Mapped[int]
    expires: Mapped[int] = mapped_column(index=True)
    used: Mapped[int | None]

    def check_client(self, client: ClientMixin) -> bool:
        """Return whether the token was issued to a client (Authlib's interface)."""
        return bool(self.client_id == client.get_client_id())

    def get_scope(self) -> str:
        """Return the token's scope (Authlib's interface)."""
        return self.scope


class RevocationRow(Base):
    """A revocation, kept until the last token that it applies to has expired."""

    __tablename__ = "revocation"

    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[int] = mapped_column(index=True)


class KeyRow(Base):
    """A signing key; the private key is encrypted."""

    __tablename__ = "signing_key"
    __table_args__ = (sa.UniqueConstraint("use", "generation", name="signing_key_generation"),)

    kid: Mapped[str] = mapped_column(primary_key=True)
    use: Mapped[str]
    generation: Mapped[int]
    public: Mapped[dict[str, Any]]
    private: Mapped[str] = mapped_column(sa.Text)
    signs_from: Mapped[int]
    signs_until: Mapped[int]
    published_until: Mapped[int]


class AssertionRow(Base):
    """A used client assertion or sign-in link, kept until it expires."""

    __tablename__ = "assertion"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    jti_hash: Mapped[str] = mapped_column(primary_key=True)
    expires: Mapped[int] = mapped_column(index=True)


class SessionRow(Base):
    """A signed-in developer or member.

    Attributes:
        subject: id of the developer's account, or logical id of the member's Patient.
        signed_in: when they authenticated.
        seen: when the last request came, to the minute.
    """

    __tablename__ = "session"

    hash: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str] = mapped_column(index=True)
    signed_in: Mapped[datetime]
    seen: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)


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
    """Extent of an audit file: the events that it must still contain."""

    __tablename__ = "audit_trail"

    file: Mapped[str] = mapped_column(primary_key=True)
    opened: Mapped[int]
    events: Mapped[int]
    head: Mapped[str]
