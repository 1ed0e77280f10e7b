"""Accounts of developers on the portal."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from etl.auth.configuration import Clock, Randomness, seconds
from etl.auth.database import Database
from etl.auth.database_tables import DeveloperRow, SessionRow
from etl.auth.records import Action, Developer, Happening, InvalidForm, NoSuchAccount, Note
from etl.auth.registration import LONGEST_NAME, is_email, line_problem
from etl.auth.secrets import new_token


class Developers:
    """Accounts of developers. Its functions wait for the database: call them in a thread."""

    def __init__(
        self, database: Database, *, clock: Clock, randomness: Randomness, note: Note
    ) -> None:
        self._database = database
        self._clock = clock
        self._randomness = randomness
        self._note = note

    def sign_in(self, email: str, *, address: str = "") -> Developer:
        """Return the account of an address whose owner redeemed a link; open it if missing.

        Args:
            email: the address, as `checked_email` returns it.
            address: where the request came from, for the audit trail.
        """
        with self._database.write() as session:
            is_new = self._database.add_if_missing(
                session,
                DeveloperRow,
                id=new_token(self._randomness, 16),
                email=email,
                name="",
                organization="",
                created=seconds(self._clock),
            )
            row = session.scalars(select(DeveloperRow).where(DeveloperRow.email == email)).one()
            developer = _developer(row)
        if is_new:
            self._say("account-opened", developer.id, address)
        self._say("developer-sign-in", developer.id, address)
        return developer

    def get(self, developer: str) -> Developer:
        """Return an account.

        Raises:
            NoSuchAccount: there is none of that id.
        """
        with self._database.read() as session:
            return _developer(_row(session, developer))

    def edit(
        self, developer: str, *, name: str, organization: str = "", address: str = ""
    ) -> Developer:
        """Change an account's profile; its address stays.

        Raises:
            InvalidForm: a field is not accepted.
            NoSuchAccount: there is none of that id.
        """
        name, organization = name.strip(), organization.strip()
        problems = {
            "name": line_problem(name, LONGEST_NAME),
            "organization": line_problem(organization, LONGEST_NAME, required=False),
        }
        if any(problems.values()):
            raise InvalidForm({field: text for field, text in problems.items() if text})
        with self._database.write() as session:
            row = _row(session, developer)
            row.name, row.organization = name, organization
        self._say("account-edited", developer, address)
        return _developer(row)

    def all(self) -> tuple[Developer, ...]:
        """Return all accounts, the newest first."""
        with self._database.read() as session:
            rows = session.scalars(
                select(DeveloperRow).order_by(DeveloperRow.created.desc(), DeveloperRow.id)
            )
            return tuple(_developer(row) for row in rows)

    def delete(self, developer: str, *, address: str = "") -> None:
        """Delete an account and end its sessions. Delete its apps before (`Apps.delete`).

        Raises:
            NoSuchAccount: there is none of that id.
        """
        with self._database.write() as session:
            row = _row(session, developer)
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer", SessionRow.subject == row.id
                )
            )
            session.delete(row)
        self._say("account-deleted", developer, address)

    def _say(self, action: Action, developer: str, address: str) -> None:
        self._note(
            Happening(self._clock(), action, developer=developer, by="developer", address=address)
        )


def checked_email(text: str) -> str:
    """Return an e-mail address in lower case.

    Raises:
        InvalidForm: it is none.
    """
    email = text.strip().lower()
    problem = line_problem(email, 254) or ("" if is_email(email) else "It is no e-mail address.")
    if problem:
        raise InvalidForm({"email": problem})
    return email


def _row(session: Session, developer: str) -> DeveloperRow:
    row = session.get(DeveloperRow, developer)
    if row is None:
        raise NoSuchAccount("there is no such account")
    return row


def _developer(row: DeveloperRow) -> Developer:
    created = datetime.fromtimestamp(row.created, UTC)
    return Developer(row.id, row.email, row.name, row.organization, created)
