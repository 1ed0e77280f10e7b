"""Members, errors and events of the authorization server, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from etl.errors import UsageError

Origin = Literal["portal", "operator"]
"""Origin of a registration: the portal, or the command line."""

DATA_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "you": ("Patient",),
    "coverage": ("Coverage",),
    "claims": ("ExplanationOfBenefit",),
    "providers": ("Organization", "Practitioner", "PractitionerRole", "Location"),
    "family": ("RelatedPerson",),
}
"""Kinds of data that a member chooses from → types of resources."""

RESOURCE_TYPES: Final = tuple(name for types in DATA_KINDS.values() for name in types)
"""FHIR types that a member's data is made of, in the order in which they are shown."""


class AppStatus(StrEnum):
    """Status of an app. Only an active one can do anything."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Approval:
    """A member's decision on the consent page; Authlib's `grant_user`.

    Attributes:
        patient: logical id of the member's Patient.
        scopes: granted scopes.
        expires: when the consent ends.
        signed_in: when the member signed in.
        address: where the request came from.
    """

    patient: str
    scopes: tuple[str, ...]
    expires: datetime
    signed_in: datetime
    address: str


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
class AccessDay:
    """An app's reads for a member on one day.

    Attributes:
        consent: id of the consent behind it.
        app_name: the app's name for people.
        day: `YYYY-MM-DD`, UTC.
        what: resource type, or the kind of data that it belongs to.
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
    """No app has that id, or it belongs to another developer."""


class NoSuchAccount(UsageError):
    """No account has that id."""


class SignInRefused(UsageError):
    """Sign-in failed or is locked; the message does not say which.

    Attributes:
        retry_after: seconds to wait; 0 if another try is allowed at once.
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
class AuditEvent:
    """An event of the audit trail other than an access to data.

    Attributes:
        when: the instant; with its zone.
        action: what happened.
        succeeded: False if the action was refused.
        client: id of the app; this and the next three are empty if they do not apply.
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
