"""Apps, developers, members and consents, as values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from etl.errors import UsageError

ClientType = Literal["confidential", "public"]
"""RFC 6749 section 2.1: whether the app can keep a secret."""

Authentication = Literal["secret", "private_key_jwt", "none"]
"""Authentication of an app: a secret (Basic or in the body), a signed assertion, or none."""

Origin = Literal["portal", "operator"]
"""Origin of a registration: the portal, or the command line."""

ATTESTATIONS: Final[dict[str, str]] = {
    "hipaa": (
        "We tell members, before they share anything, that HIPAA does not protect their data in "
        "our app, and who oversees us instead."
    ),
    "use": (
        "Our privacy policy says how we use, exchange and sell data, and we do nothing with it "
        "that the policy does not say."
    ),
    "consent": "We ask for the member's express consent before data is used, exchanged or sold.",
    "discontinue": (
        "A member can stop sharing at any time; our privacy policy says how, and what then "
        "happens to the data we have."
    ),
}
"""Statements that a developer confirms at registration: id → the sentence. All are required."""

RESOURCE_TYPES: Final = (
    "Patient",
    "Coverage",
    "ExplanationOfBenefit",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Location",
    "RelatedPerson",
)
"""FHIR types that a member's data is made of, in the order in which they are shown."""

DEFAULT_SCOPES: Final = (
    "launch/patient",
    "openid",
    "fhirUser",
    "offline_access",
    "patient/*.rs",
)
"""Default scopes of a registration. An app may ask for less."""


class AppStatus(StrEnum):
    """Status of an app. Only an active one can do anything."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class AppDraft:
    """Fields of the registration form of an app.

    Attributes:
        name: shown to members on the consent page; at most 80 characters.
        organization: the organization behind the app.
        description: what it does for the member; at most 1000 characters.
        client_type: `confidential` or `public`.
        authentication: `secret` or `private_key_jwt` for confidential apps, `none` for public ones.
        redirect_uris: exact; https, or http on a loopback address, or an app's own scheme with a
            dot in it (RFC 8252).
        website, logo_uri, policy_uri, terms_uri: https; `policy_uri` is required, the others may
            be empty. None of them is ever fetched by the server.
        contact_name, contact_email, contact_phone: the contact; the phone may be empty.
        attestations: ids out of `ATTESTATIONS`; all are required.
        scopes: the most the app may ask for; `DEFAULT_SCOPES` where not given.
        jwks: JSON text of the public keys (RFC 7517) for `private_key_jwt`, else empty.
        plain_launch: the app uses the plain authorize URL of existing portals, without scope,
            state, aud and PKCE; it is given all its registered scopes. Confidential apps only.
    """

    name: str
    organization: str
    client_type: ClientType
    authentication: Authentication
    redirect_uris: tuple[str, ...]
    policy_uri: str
    contact_name: str
    contact_email: str
    attestations: tuple[str, ...]
    description: str = ""
    website: str = ""
    logo_uri: str = ""
    terms_uri: str = ""
    contact_phone: str = ""
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    jwks: str = ""
    plain_launch: bool = False


@dataclass(frozen=True, slots=True)
class App:
    """A registered app.

    Attributes:
        client_id: its id, public.
        draft: fields of the registration form.
        status: whether it may do anything.
        developer: id of the developer's account; empty where it has none.
        origin: where it was registered.
        created: when it was registered.
        secret_made: when its secret was made; None where it has none.
        is_plain: whether it may use the plain authorize URL; granted by the payer (at once in
            sandbox mode), never by asking alone.
    """

    client_id: str
    draft: AppDraft
    status: AppStatus
    developer: str
    origin: Origin
    created: datetime
    secret_made: datetime | None
    is_plain: bool

    @property
    def is_active(self) -> bool:
        """Whether it may do anything."""
        return self.status is AppStatus.ACTIVE

    @property
    def revision(self) -> str:
        """Hash of the draft, 16 hex digits: only the reviewed draft can be approved."""
        draft = json.dumps(asdict(self.draft), sort_keys=True)
        return hashlib.sha256(draft.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Issued:
    """An app together with the secret that is shown this once; the server keeps its hash only.

    Attributes:
        app: the app.
        secret: its new secret; None for apps that have none. Not printed.
    """

    app: App
    secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Developer:
    """A developer's account on the portal.

    Attributes:
        id: random; not the e-mail address.
        email: lower case; sign-in links are sent to it.
        name: the person; may be empty, as the organization.
        created: when the account was opened.
    """

    id: str
    email: str
    name: str
    organization: str
    created: datetime


@dataclass(frozen=True, slots=True)
class SignedInMember:
    """A member, identified by the payer's identity provider or the demo directory.

    Attributes:
        patient: logical id of their Patient resource.
        name: for greeting them on a page; never stored, never logged.
        signed_in: when they authenticated.
    """

    patient: str
    name: str = field(repr=False)
    signed_in: datetime


@dataclass(frozen=True, slots=True)
class DemoMember:
    """A member of the demo directory.

    Attributes:
        username: what one signs in with; the password is the directory's, the same for all.
        name: for people.
        patient: logical id of their Patient resource.
    """

    username: str
    name: str
    patient: str


@dataclass(frozen=True, slots=True)
class Consent:
    """A member's consent: one app, some scopes, until a day.

    Attributes:
        id: random; in access tokens as `grant_id`.
        client_id: the app.
        app_name: its name for people.
        patient: logical id of the member's Patient.
        scopes: granted ones.
        given: when.
        expires: when it ends by itself.
        revoked: when it was ended; None while it holds.
        last_used: when the app last got or refreshed a token; None before.
    """

    id: str
    client_id: str
    app_name: str
    patient: str
    scopes: tuple[str, ...]
    given: datetime
    expires: datetime
    revoked: datetime | None
    last_used: datetime | None


@dataclass(frozen=True, slots=True)
class AccessDay:
    """An app's reads for a member on one day.

    Attributes:
        consent: id of the consent behind it.
        app_name: the app's name for people.
        day: `YYYY-MM-DD`, UTC.
        what: resource type.
        count: how often.
        last: when last.
    """

    consent: str
    app_name: str
    day: str
    what: str
    count: int
    last: datetime


class InvalidForm(UsageError):
    """A form is invalid.

    Attributes:
        problems: field → one sentence for the person who filled it in.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))


class NoSuchApp(UsageError):
    """There is no app of that id, or it is not this developer's."""


class NoSuchAccount(UsageError):
    """There is no account of that id."""


class SignInRefused(UsageError):
    """Sign-in failed or is locked; the message does not say which.

    Attributes:
        retry_after: seconds to wait; 0 where it may be tried again at once.
    """

    def __init__(self, message: str, *, retry_after: int = 0) -> None:
        self.retry_after = retry_after
        super().__init__(message)


Action = Literal[
    "app-registered", "app-edited", "app-approved", "app-disabled", "app-enabled", "app-deleted",
    "secret-rotated", "account-opened", "account-edited", "account-deleted",
    "developer-sign-in", "member-sign-in", "consent-given", "consent-refused", "consent-revoked",
    "code-issued", "code-replayed", "token-issued", "token-refreshed", "token-revoked",
    "refresh-replayed", "client-refused", "keys-rotated",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """An event of the audit trail other than an access to data.

    Attributes:
        when: the instant; with its zone.
        action: what happened.
        succeeded: whether it was done, or refused.
        client: id of the app concerned; empty where none is, as in the others.
        developer: id of the developer's account.
        patient: logical id of the Patient.
        consent: id of the consent.
        by: the actor: `member`, `developer`, `operator`, `app`, `server`.
        address: where the request came from.
        detail: more, without secrets and without members' data.
    """

    when: datetime
    action: Action
    succeeded: bool = True
    client: str = ""
    developer: str = ""
    patient: str = ""
    consent: str = ""
    by: str = "server"
    address: str = ""
    detail: str = ""


Note = Callable[[Happening], None]
"""Records an event in the audit trail before it returns."""
