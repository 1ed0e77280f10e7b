"""Accounts of developers on the portal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from etl.auth.configuration import Clock, Randomness
from etl.auth.database import Database
from etl.auth.lockout import REFUSED, Lockout
from etl.auth.registration import LONGEST_NAME, is_email, line_problem
from etl.auth.secrets import is_password, new_token, password_hash
from etl.auth.tables import DeveloperRow, SessionRow
from etl.auth.values import (
    Action,
    Developer,
    Happening,
    InvalidForm,
    NoSuchAccount,
    Note,
    SignInRefused,
)

SHORTEST_PASSWORD: Final = 12
"""NIST SP 800-63B: length counts, rules about characters do not."""

LONGEST_PASSWORD: Final = 200


class Developers:
    """Accounts of developers. Its functions wait for the database: call them in a thread."""

    def __init__(
        self,
        database: Database,
        lockout: Lockout,
        *,
        clock: Clock,
        randomness: Randomness,
        note: Note,
    ) -> None:
        self._database = database
        self._lockout = lockout
        self._clock = clock
        self._randomness = randomness
        self._note = note

    def sign_up(
        self, *, email: str, name: str, password: str, organization: str = "", address: str = ""
    ) -> Developer:
        """Open an account.

        Raises:
            InvalidForm: `email`, `name`, `organization` or `password` cannot be taken.
        """
        email = email.strip().lower()
        problems = _problems(email, name.strip(), organization.strip()) | _weakness(password, email)
        if problems:
            raise InvalidForm(problems)
        row = DeveloperRow(
            id=new_token(self._randomness, 16),
            email=email,
            name=name.strip(),
            organization=organization.strip(),
            password_hash=password_hash(password),
            created=int(self._clock().timestamp()),
        )
        try:
            with self._database.write() as session:
                session.add(row)
        except IntegrityError:
            raise InvalidForm({"email": "There is an account with this address."}) from None
        self._say("account-opened", row.id, address)
        return _developer(row)

    def sign_in(self, *, email: str, password: str, address: str = "") -> Developer:
        """Return whose account that is.

        Raises:
            SignInRefused: wrong, or locked after too many wrong ones.
        """
        email = email.strip().lower()
        self._lockout.check(email, address)
        with self._database.read() as session:
            row = session.scalar(select(DeveloperRow).where(DeveloperRow.email == email))
        if not is_password(password[:LONGEST_PASSWORD], row.password_hash if row else None):
            self._lockout.failed(email, address)
            self._say("developer-sign-in", row.id if row else "", address, succeeded=False)
            raise SignInRefused(REFUSED)
        assert row is not None  # noqa: S101 - nobody's password fits where there is no account
        self._lockout.succeeded(email)
        self._say("developer-sign-in", row.id, address)
        return _developer(row)

    def get(self, developer: str) -> Developer:
        """Return an account.

        Raises:
            NoSuchAccount: there is none of that id.
        """
        with self._database.read() as session:
            return _developer(_row(session, developer))

    def edit(
        self, developer: str, *, email: str, name: str, organization: str = "", address: str = ""
    ) -> Developer:
        """Change an account's profile.

        Raises:
            InvalidForm: a field cannot be taken.
            NoSuchAccount: there is none of that id.
        """
        email = email.strip().lower()
        problems = _problems(email, name.strip(), organization.strip())
        if problems:
            raise InvalidForm(problems)
        try:
            with self._database.write() as session:
                row = _row(session, developer)
                row.email, row.name = email, name.strip()
                row.organization = organization.strip()
        except IntegrityError:
            raise InvalidForm({"email": "There is an account with this address."}) from None
        self._say("account-edited", developer, address)
        return _developer(row)

    def change_password(
        self, developer: str, *, old: str, new: str, keep_session: str = "", address: str = ""
    ) -> None:
        """Change the password, and sign the account out everywhere else.

        Args:
            developer: id of the account.
            old: the present password.
            new: the one wanted.
            keep_session: hash of the session that stays signed in (`Session.hash`).
            address: where the request came from.

        Raises:
            InvalidForm: the old one is wrong (`old`) or the new one cannot be taken (`new`).
            SignInRefused: locked after too many wrong ones.
            NoSuchAccount: there is none of that id.
        """
        with self._database.read() as session:
            row = _row(session, developer)
        self._lockout.check(row.email, address)
        if not is_password(old[:LONGEST_PASSWORD], row.password_hash):
            self._lockout.failed(row.email, address)
            raise InvalidForm({"old": "That is not the present password."})
        problems = _weakness(new, row.email)
        if problems:
            raise InvalidForm({"new": problems["password"]})
        fresh = password_hash(new)
        with self._database.write() as session:
            _row(session, developer).password_hash = fresh
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer",
                    SessionRow.subject == developer,
                    SessionRow.hash != keep_session,
                )
            )
        self._say("password-changed", developer, address)

    def reset_password(self, email: str) -> str:
        """Give an account a new random password, and sign it out everywhere.

        For the operator, who has made sure by other means who is asking: there is no mail.

        Args:
            email: the account's address.

        Returns:
            The password, to be handed over by a way that only its owner reads.

        Raises:
            NoSuchAccount: there is none with that address.
        """
        email = email.strip().lower()
        password = new_token(self._randomness, 18)
        with self._database.write() as session:
            row = session.scalar(select(DeveloperRow).where(DeveloperRow.email == email))
            if row is None:
                raise NoSuchAccount("there is no account with that address")
            row.password_hash = password_hash(password)
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer", SessionRow.subject == row.id
                )
            )
        self._lockout.succeeded(email)
        self._note(Happening(self._clock(), "password-changed", developer=row.id, by="operator"))
        return password

    def all(self) -> tuple[Developer, ...]:
        """Return all accounts, the newest first."""
        with self._database.read() as session:
            rows = session.scalars(
                select(DeveloperRow).order_by(DeveloperRow.created.desc(), DeveloperRow.id)
            )
            return tuple(_developer(row) for row in rows)

    def delete(self, developer: str, *, address: str = "") -> None:
        """Delete an account. Delete its apps before (`Apps.delete`).

        Raises:
            NoSuchAccount: there is none of that id.
        """
        with self._database.write() as session:
            session.delete(_row(session, developer))
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer", SessionRow.subject == developer
                )
            )
        self._say("account-deleted", developer, address)

    def _say(self, action: Action, developer: str, address: str, *, succeeded: bool = True) -> None:
        self._note(
            Happening(
                self._clock(),
                action,
                succeeded,
                developer=developer,
                by="developer",
                address=address,
            )
        )


def _row(session: Session, developer: str) -> DeveloperRow:
    row = session.get(DeveloperRow, developer)
    if row is None:
        raise NoSuchAccount("there is no such account")
    return row


def _developer(row: DeveloperRow) -> Developer:
    created = datetime.fromtimestamp(row.created, UTC)
    return Developer(row.id, row.email, row.name, row.organization, created)


def _problems(email: str, name: str, organization: str) -> dict[str, str]:
    found = {
        "email": line_problem(email, 254)
        or ("" if is_email(email) else "It is no e-mail address."),
        "name": line_problem(name, LONGEST_NAME),
        "organization": line_problem(organization, LONGEST_NAME, required=False),
    }
    return {field: text for field, text in found.items() if text}


def _weakness(password: str, email: str) -> dict[str, str]:
    if len(password) < SHORTEST_PASSWORD:
        return {"password": f"At least {SHORTEST_PASSWORD} characters, please."}
    if len(password) > LONGEST_PASSWORD:
        return {"password": f"At most {LONGEST_PASSWORD} characters, please."}
    if password.lower() == email or len(set(password)) < 5:
        return {"password": "That is too easy to guess."}
    return {}
