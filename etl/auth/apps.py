"""The registry of apps. Secrets are shown when they are made, and kept as hashes only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from etl.auth import registration
from etl.auth.app_names import imitates, is_taken
from etl.auth.configuration import AuthConfiguration, Clock, Randomness, seconds
from etl.auth.consents import end_consents
from etl.auth.database import Database
from etl.auth.database_tables import AppRow
from etl.auth.records import (
    Action,
    App,
    AppDraft,
    AppStatus,
    Happening,
    InvalidForm,
    Issued,
    NoSuchApp,
    Note,
    Origin,
)
from etl.auth.revocations import Revocations
from etl.auth.secrets import hash_of, is_same, new_token

_CLIENT_ID_BYTES: Final = 16


class Apps:
    """The registry of apps. Its functions wait for the database: call them in a thread."""

    def __init__(
        self,
        database: Database,
        configuration: AuthConfiguration,
        revocations: Revocations,
        *,
        clock: Clock,
        randomness: Randomness,
        note: Note,
    ) -> None:
        self._database = database
        self._configuration = configuration
        self._revocations = revocations
        self._clock = clock
        self._randomness = randomness
        self._note = note

    def register(
        self,
        draft: AppDraft,
        *,
        developer: str = "",
        origin: Origin = "portal",
        client_id: str | None = None,
        address: str = "",
    ) -> Issued:
        """Register an app: active at once in sandbox mode, else waiting for approval.

        Args:
            draft: fields of the registration form.
            developer: id of the developer's account; empty for none.
            origin: where it is registered. The operator's own are active at once.
            client_id: a chosen id; random where not given.
            address: where the request came from, for the audit trail.

        Raises:
            InvalidForm: a field is invalid, or the account has as many apps as it may have.
        """
        draft = registration.check(draft)
        at_once = self._configuration.sandbox or origin == "operator"
        secret = self._new_secret(draft)
        now = seconds(self._clock)
        row = AppRow(
            client_id=client_id or new_token(self._randomness, _CLIENT_ID_BYTES),
            developer=developer,
            draft=_packed(draft),
            status=(AppStatus.ACTIVE if at_once else AppStatus.PENDING).value,
            origin=origin,
            created=now,
            secret_hash=hash_of(secret) if secret else "",
            secret_made=now if secret else None,
            is_plain=at_once and draft.plain_launch,
            is_approved=at_once,
            disabled_by="",
        )
        with self._database.write() as session:
            self._check_account(session, row)
            self._check_name(session, row)
            session.add(row)
        self._say("app-registered", row, by=_by(developer, origin), address=address)
        return Issued(self._app(row), secret)

    def get(self, client_id: str, *, developer: str | None = None) -> App:
        """Return an app.

        Args:
            client_id: its id.
            developer: the required owner; any owner where not given.

        Raises:
            NoSuchApp: no app has that id, it has another owner, or it was deleted.
        """
        with self._database.read() as session:
            return self._app(_row(session, client_id, developer))

    def of_developer(self, developer: str) -> tuple[App, ...]:
        """Return a developer's apps, the newest first, without deleted ones."""
        return tuple(app for app in self.all() if developer and app.developer == developer)

    def all(self, statuses: Iterable[AppStatus] = ()) -> tuple[App, ...]:
        """Return all apps, the newest first; without deleted ones unless they are asked for."""
        wanted = tuple(statuses) or tuple(
            status for status in AppStatus if status != AppStatus.DELETED
        )
        with self._database.read() as session:
            rows = session.scalars(
                select(AppRow)
                .where(AppRow.status.in_([status.value for status in wanted]))
                .order_by(AppRow.created.desc(), AppRow.client_id)
            )
            return tuple(self._app(row) for row in rows)

    def edit(
        self,
        client_id: str,
        draft: AppDraft,
        *,
        developer: str | None = None,
        address: str = "",
    ) -> Issued:
        """Change what is said of an app. Its id stays.

        In production a change to anything that a member sees or that the app may do (all but the
        contact) needs a new approval: the old one was for another draft. A secret is created where
        the app now needs one and has none, and removed where it no longer needs one.

        Raises:
            InvalidForm: a field is invalid.
            NoSuchApp: see `get`.
        """
        draft = registration.check(draft)
        secret: str | None = None
        with self._database.write() as session:
            row = _row(session, client_id, developer)
            was = _unpacked(row)
            row.draft = _packed(draft)
            if draft.name != was.name:
                self._check_name(session, row)
            if draft.authentication != "secret":
                row.secret_hash, row.secret_made = "", None
            elif not row.secret_hash:
                secret = self._new_secret(draft)
                row.secret_hash, row.secret_made = hash_of(secret or ""), seconds(self._clock)
            if _is_weightier(was, draft):
                if self._configuration.sandbox:
                    row.is_plain = draft.plain_launch
                else:
                    row.is_approved = row.is_plain = False
                    if row.status == AppStatus.ACTIVE.value:
                        row.status = AppStatus.PENDING.value
                        self._revocations.add(session, "app", client_id)
        self._revocations.announce()
        self._say("app-edited", row, by=_by(developer or ""), address=address)
        return Issued(self._app(row), secret)

    def rotate_secret(
        self, client_id: str, *, developer: str | None = None, address: str = ""
    ) -> Issued:
        """Give an app a new secret; the old one is invalid from now on.

        Raises:
            NoSuchApp: see `get`, and where the app has no secret.
        """
        with self._database.write() as session:
            row = _row(session, client_id, developer)
            secret = self._new_secret(_unpacked(row))
            if secret is None:
                raise NoSuchApp("the app authenticates without a secret; there is none to change")
            row.secret_hash, row.secret_made = hash_of(secret), seconds(self._clock)
        self._say("secret-rotated", row, by=_by(developer or ""), address=address)
        return Issued(self._app(row), secret)

    def approve(self, client_id: str, revision: str) -> App:
        """Let a waiting app work; the plain authorize URL too, where it asked for it.

        Args:
            client_id: its id.
            revision: `App.revision` of the draft that was reviewed.

        Raises:
            NoSuchApp: see `get`.
            InvalidForm: it was changed since the review, or its name is another app's by now.
        """
        with self._database.write() as session:
            row = _row(session, client_id, None)
            if self._app(row).revision != revision:
                raise InvalidForm(
                    {
                        "revision": "It is not that of the app as it is; look at the app again: "
                        f"cpcds apps show {client_id}"
                    }
                )
            self._check_name(session, row)
            row.is_approved, row.disabled_by = True, ""
            row.is_plain = _unpacked(row).plain_launch
            row.status = AppStatus.ACTIVE.value
            self._revocations.lift(session, "app", client_id)
        return self._turned(row, "app-approved", None, "")

    def enable(self, client_id: str, *, developer: str | None = None, address: str = "") -> App:
        """Let a disabled app work again; one that is not approved goes back to waiting.

        Raises:
            NoSuchApp: see `get`; or it is not disabled; or the operator disabled it, and a
                developer wants it enabled.
        """
        with self._database.write() as session:
            row = _row(session, client_id, developer)
            if row.status != AppStatus.DISABLED.value:
                raise NoSuchApp("the app is not disabled")
            if developer is not None and row.disabled_by != "developer":
                raise NoSuchApp("the app was disabled by the operator, who alone can enable it")
            row.disabled_by = ""
            row.status = (AppStatus.ACTIVE if row.is_approved else AppStatus.PENDING).value
            if row.is_approved:
                self._revocations.lift(session, "app", client_id)
        return self._turned(row, "app-enabled", developer, address)

    def disable(self, client_id: str, *, developer: str | None = None, address: str = "") -> App:
        """Stop an app at once; members' consents stay, for the case that it is enabled again.

        Raises:
            NoSuchApp: see `get`.
        """
        with self._database.write() as session:
            row = _row(session, client_id, developer)
            if developer is None or row.disabled_by != "operator":
                row.disabled_by = _by(developer or "")
            row.status = AppStatus.DISABLED.value
            self._revocations.add(session, "app", client_id)
        return self._turned(row, "app-disabled", developer, address)

    def delete(
        self,
        client_id: str,
        *,
        developer: str | None = None,
        address: str = "",
    ) -> None:
        """Delete an app: its consents end, its secret is forgotten, its name stays in histories.

        Raises:
            NoSuchApp: see `get`.
        """
        with self._database.write() as session:
            row = _row(session, client_id, developer)
            row.status = AppStatus.DELETED.value
            row.secret_hash, row.secret_made = "", None
            end_consents(session, seconds(self._clock), client_id=client_id)
            self._revocations.add(session, "app", client_id)
        self._revocations.announce()
        self._say("app-deleted", row, by=_by(developer or ""), address=address)

    def has_secret(self, client_id: str, secret: str) -> bool:
        """Return whether that is the app's secret, in constant time."""
        with self._database.read() as session:
            row = session.get(AppRow, client_id)
            return row is not None and is_same(secret, row.secret_hash)

    def _check_account(self, session: Session, row: AppRow) -> None:
        own = select(func.count()).where(
            AppRow.developer == row.developer, AppRow.status != AppStatus.DELETED.value
        )
        most = self._configuration.most_apps
        if row.developer and (session.scalar(own) or 0) >= most:
            raise InvalidForm({"name": f"An account can have {most} apps; delete one first."})

    def _check_name(self, session: Session, row: AppRow) -> None:
        """Refuse a name that looks like the payer's; in production, like another's app, too.

        In a sandbox apps of one name are many, and no member meets them.
        """
        name = _unpacked(row).name
        if row.origin != "operator" and imitates(name, self._configuration.payer):
            raise InvalidForm({"name": "It looks like the payer's own name; choose another."})
        if self._configuration.sandbox:
            return
        others = session.scalars(
            select(AppRow).where(
                AppRow.client_id != row.client_id, AppRow.status != AppStatus.DELETED.value
            )
        )
        if is_taken(name, (_unpacked(other).name for other in others if not _is_own(row, other))):
            raise InvalidForm({"name": "It looks like the name of another app; choose another."})

    def _turned(self, row: AppRow, action: Action, developer: str | None, address: str) -> App:
        self._revocations.announce()
        self._say(action, row, by=_by(developer or ""), address=address)
        return self._app(row)

    def _new_secret(self, draft: AppDraft) -> str | None:
        return new_token(self._randomness) if draft.authentication == "secret" else None

    def _say(self, action: Action, row: AppRow, *, by: str, address: str) -> None:
        self._note(
            Happening(
                self._clock(),
                action,
                client=row.client_id,
                developer=row.developer,
                by=by,
                address=address,
                detail=row.status,
            )
        )

    def _app(self, row: AppRow) -> App:
        draft = _unpacked(row)
        named = row.client_id in self._configuration.plain_apps
        return App(
            client_id=row.client_id,
            draft=draft,
            status=AppStatus(row.status),
            developer=row.developer,
            origin=row.origin,  # type: ignore[arg-type]
            created=datetime.fromtimestamp(row.created, UTC),
            secret_made=(
                None if row.secret_made is None else datetime.fromtimestamp(row.secret_made, UTC)
            ),
            is_plain=(row.is_plain or named) and draft.client_type == "confidential",
        )


def _row(session: Session, client_id: str, developer: str | None) -> AppRow:
    row = session.get(AppRow, client_id)
    is_theirs = row is not None and developer in (None, row.developer) and developer != ""
    if row is None or row.status == AppStatus.DELETED.value or not is_theirs:
        raise NoSuchApp("there is no such app")
    return row


def _is_own(row: AppRow, other: AppRow) -> bool:
    return bool(row.developer) and row.developer == other.developer


def _packed(draft: AppDraft) -> dict[str, object]:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(draft).items()
    }


def _unpacked(row: AppRow) -> AppDraft:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.draft.items()
    }
    return AppDraft(**fields)


def _is_weightier(was: AppDraft, now: AppDraft) -> bool:
    """Return whether a change needs a new approval."""
    weighty = (
        "name", "organization", "description", "client_type", "authentication", "redirect_uris",
        "scopes", "jwks", "plain_launch", "website", "logo_uri", "policy_uri", "terms_uri",
    )  # fmt: skip
    return any(getattr(was, name) != getattr(now, name) for name in weighty)


def _by(developer: str, origin: Origin = "operator") -> str:
    return "developer" if developer or origin == "portal" else "operator"
