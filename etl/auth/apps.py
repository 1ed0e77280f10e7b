"""The registry of apps. Secrets are shown when they are made, and kept as hashes only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from etl.auth.app_names import imitates, is_taken
from etl.auth.context import AuthContext, hash_of
from etl.auth.database_tables import App, Consent
from etl.auth.records import Action, AppStatus, InvalidForm, NoSuchApp, Origin
from etl.auth.registration import AppDraft
from etl.auth.revocations import Revocations

_CLIENT_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class IssuedApp:
    """An app together with the secret that is shown this once; the server keeps its hash only.

    Attributes:
        secret: its new secret; None for apps that have none. Not printed.
    """

    app: App
    secret: str | None = field(repr=False)


class Apps:
    """The registry of apps. Its functions wait for the database: call them in a thread."""

    def __init__(self, context: AuthContext, revocations: Revocations) -> None:
        self._context = context
        self._revocations = revocations

    def register(
        self,
        draft: AppDraft,
        *,
        developer: str = "",
        origin: Origin = "portal",
        client_id: str | None = None,
        address: str = "",
    ) -> IssuedApp:
        """Register an app: active at once in sandbox mode, else waiting for approval.

        Args:
            draft: fields of the registration form.
            developer: id of the developer's account; empty for none.
            origin: where it is registered. The operator's own are active at once.
            client_id: a chosen id; None for a random one.
            address: where the request came from, for the audit trail.

        Raises:
            InvalidForm: another app has the name, or the account has the maximum number of apps.
        """
        is_approved = self._context.configuration.sandbox or origin == "operator"
        secret = self._new_secret(draft)
        now = self._context.now()
        app = App(
            client_id=client_id or self._context.new_token(_CLIENT_ID_BYTES),
            developer=developer,
            draft=draft,
            status=AppStatus.ACTIVE if is_approved else AppStatus.PENDING,
            origin=origin,
            created=now,
            secret_hash=hash_of(secret) if secret else "",
            secret_made=now if secret else None,
            is_plain=is_approved and draft.plain_launch,
            is_approved=is_approved,
        )
        with self._context.database.write() as session:
            self._check_account(session, app)
            self._check_name(session, app)
            session.add(app)
        actor = "operator" if origin == "operator" and not developer else "developer"
        return IssuedApp(self._announce("app-registered", app, actor, address), secret)

    def get(self, client_id: str, *, developer: str | None = None) -> App:
        """Return an app.

        Args:
            client_id: its id.
            developer: the required owner; None for any owner.

        Raises:
            NoSuchApp: no app has that id, it has another owner, or it was deleted.
        """
        with self._context.database.read() as session:
            app = _find_app(session, client_id, developer)
        return self._with_rights(app)

    def of_developer(self, developer: str) -> tuple[App, ...]:
        """Return a developer's apps, the newest first, without deleted ones."""
        return tuple(app for app in self.all() if developer and app.developer == developer)

    def all(self, statuses: Iterable[AppStatus] = ()) -> tuple[App, ...]:
        """Return all apps, the newest first; without deleted ones unless they are asked for."""
        shown = tuple(statuses) or (AppStatus.PENDING, AppStatus.ACTIVE, AppStatus.DISABLED)
        query = select(App).where(App.status.in_(shown)).order_by(App.created.desc(), App.client_id)
        with self._context.database.read() as session:
            apps = session.scalars(query).all()
        return tuple(map(self._with_rights, apps))

    def edit(
        self, client_id: str, draft: AppDraft, *, developer: str | None = None, address: str = ""
    ) -> IssuedApp:
        """Change an app's registration; its id stays.

        In production a change to anything that a member sees or that the app may do (all but the
        contact) needs a new approval: the old one was for another draft. A secret is created where
        the app now needs one and has none, and removed where it no longer needs one.

        Raises:
            InvalidForm: the name looks like another app's.
            NoSuchApp: see `get`.
        """
        secret: str | None = None
        with self._context.database.write() as session:
            app = _find_app(session, client_id, developer)
            previous_draft, app.draft = app.draft, draft
            if draft.name != previous_draft.name:
                self._check_name(session, app)
            if draft.authentication != "secret":
                app.secret_hash, app.secret_made = "", None
            elif not app.secret_hash:
                secret = self._replace_secret(app)
            if _needs_approval(previous_draft, draft):
                if self._context.configuration.sandbox:
                    app.is_plain = draft.plain_launch
                else:
                    app.is_approved = app.is_plain = False
                    if app.is_active:
                        app.status = AppStatus.PENDING
                        self._revocations.add(session, "app", client_id)
        return IssuedApp(self._announce("app-edited", app, _actor(developer), address), secret)

    def rotate_secret(
        self, client_id: str, *, developer: str | None = None, address: str = ""
    ) -> IssuedApp:
        """Give an app a new secret; the old one is invalid from now on.

        Raises:
            NoSuchApp: see `get`; or the app has no secret.
        """
        with self._context.database.write() as session:
            app = _find_app(session, client_id, developer)
            secret = self._replace_secret(app)
            if secret is None:
                raise NoSuchApp(
                    "the app authenticates without a secret, so there is no secret to change"
                )
        return IssuedApp(self._announce("secret-rotated", app, _actor(developer), address), secret)

    def approve(self, client_id: str, revision: str) -> App:
        """Let a waiting app work; the plain authorize URL too, where it asked for it.

        Args:
            client_id: its id.
            revision: `App.revision` of the draft that was reviewed.

        Raises:
            NoSuchApp: see `get`.
            InvalidForm: the app changed since the review, or another app has its name by now.
        """
        with self._context.database.write() as session:
            app = _find_app(session, client_id, None)
            if app.revision != revision:
                raise InvalidForm(
                    {
                        "revision": "The app has changed since then. Look at it again: "
                        f"cpcds apps show {client_id}"
                    }
                )
            self._check_name(session, app)
            app.is_approved, app.disabled_by = True, ""
            app.is_plain = app.draft.plain_launch
            app.status = AppStatus.ACTIVE
            self._revocations.lift(session, "app", client_id)
        return self._announce("app-approved", app, "operator", "")

    def enable(self, client_id: str, *, developer: str | None = None, address: str = "") -> App:
        """Let a disabled app work again; one that is not approved goes back to waiting.

        Raises:
            NoSuchApp: see `get`; or it is not disabled; or the operator disabled it, and a
                developer wants it enabled.
        """
        with self._context.database.write() as session:
            app = _find_app(session, client_id, developer)
            if app.status is not AppStatus.DISABLED:
                raise NoSuchApp("the app is not disabled")
            if developer is not None and app.disabled_by != "developer":
                raise NoSuchApp("the app was disabled by the operator, who alone can enable it")
            app.disabled_by = ""
            app.status = AppStatus.ACTIVE if app.is_approved else AppStatus.PENDING
            if app.is_approved:
                self._revocations.lift(session, "app", client_id)
        return self._announce("app-enabled", app, _actor(developer), address)

    def disable(self, client_id: str, *, developer: str | None = None, address: str = "") -> App:
        """Stop an app at once; members' consents stay, for the case that it is enabled again.

        Raises:
            NoSuchApp: see `get`.
        """
        with self._context.database.write() as session:
            app = _find_app(session, client_id, developer)
            if developer is None or app.disabled_by != "operator":
                app.disabled_by = _actor(developer)
            app.status = AppStatus.DISABLED
            self._revocations.add(session, "app", client_id)
        return self._announce("app-disabled", app, _actor(developer), address)

    def delete(self, client_id: str, *, developer: str | None = None, address: str = "") -> None:
        """Delete an app: its consents end, its secret is forgotten, its name stays in histories.

        Raises:
            NoSuchApp: see `get`.
        """
        with self._context.database.write() as session:
            app = _find_app(session, client_id, developer)
            app.status = AppStatus.DELETED
            app.secret_hash, app.secret_made = "", None
            session.execute(
                update(Consent)
                .where(Consent.client_id == client_id, Consent.revoked.is_(None))
                .values(revoked=self._context.now())
            )
            self._revocations.add(session, "app", client_id)
        self._announce("app-deleted", app, _actor(developer), address)

    def _check_account(self, session: Session, app: App) -> None:
        own_apps = select(func.count()).where(
            App.developer == app.developer, App.status != AppStatus.DELETED
        )
        max_apps = self._context.configuration.most_apps
        if app.developer and (session.scalar(own_apps) or 0) >= max_apps:
            raise InvalidForm({"name": f"An account can have {max_apps} apps; delete one first."})

    def _check_name(self, session: Session, app: App) -> None:
        """Refuse a name that looks like the payer's; in production, like another's app, too.

        In a sandbox apps of one name are many, and no member meets them.
        """
        name = app.draft.name
        if app.origin != "operator" and imitates(name, self._context.configuration.payer):
            raise InvalidForm({"name": "It looks like the payer's own name. Choose another name."})
        if self._context.configuration.sandbox:
            return
        others = session.scalars(
            select(App).where(App.client_id != app.client_id, App.status != AppStatus.DELETED)
        )
        other_names = (
            other.draft.name
            for other in others
            if not app.developer or other.developer != app.developer
        )
        if is_taken(name, other_names):
            raise InvalidForm(
                {"name": "It looks like the name of another app. Choose another name."}
            )

    def _new_secret(self, draft: AppDraft) -> str | None:
        return self._context.new_token() if draft.authentication == "secret" else None

    def _replace_secret(self, app: App) -> str | None:
        secret = self._new_secret(app.draft)
        if secret is not None:
            app.secret_hash, app.secret_made = hash_of(secret), self._context.now()
        return secret

    def _announce(self, action: Action, app: App, actor: str, address: str) -> App:
        """Tell the verifiers of tokens and the audit trail of a change; return the changed app."""
        self._revocations.announce()
        self._context.note(
            action,
            client=app.client_id,
            developer=app.developer,
            by=actor,
            address=address,
            detail=app.status.value,
        )
        return self._with_rights(app)

    def _with_rights(self, app: App) -> App:
        """Set the rights that the settings give a detached app; return it."""
        is_named = app.client_id in self._context.configuration.plain_apps
        app.is_plain = (app.is_plain or is_named) and app.draft.client_type == "confidential"
        return app


def _find_app(session: Session, client_id: str, developer: str | None) -> App:
    app = session.get(App, client_id)
    is_owner = app is not None and developer in (None, app.developer) and developer != ""
    if app is None or app.status is AppStatus.DELETED or not is_owner:
        raise NoSuchApp("there is no such app")
    return app


def _needs_approval(previous: AppDraft, draft: AppDraft) -> bool:
    """Return whether a change concerns more than the contact and the attestations."""
    exempt = {"contact_name", "contact_email", "contact_phone", "attestations"}
    return previous.model_dump(exclude=exempt) != draft.model_dump(exclude=exempt)


def _actor(developer: str | None) -> str:
    return "developer" if developer else "operator"
