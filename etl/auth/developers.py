"""Accounts of developers on the portal."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from etl.auth.context import AuthContext
from etl.auth.database_tables import Developer, SessionRow
from etl.auth.records import Action, InvalidForm, NoSuchAccount
from etl.auth.registration import LONGEST_NAME, email_problem, line_problem


class Developers:
    """Accounts of developers. Its functions wait for the database: call them in a thread."""

    def __init__(self, context: AuthContext) -> None:
        self._context = context

    def sign_in(self, email: str, *, address: str = "") -> Developer:
        """Return the account of an address whose owner redeemed a link; open it if missing.

        Args:
            email: the address, as `parse_email` returns it.
            address: where the request came from, for the audit trail.
        """
        with self._context.database.write() as session:
            is_new = self._context.database.add_if_missing(
                session,
                Developer,
                id=self._context.new_token(16),
                email=email,
                name="",
                organization="",
                created=self._context.now(),
            )
            developer = session.scalars(select(Developer).where(Developer.email == email)).one()
        if is_new:
            self._note("account-opened", developer.id, address)
        self._note("developer-sign-in", developer.id, address)
        return developer

    def get(self, developer: str) -> Developer:
        """Return an account.

        Raises:
            NoSuchAccount: no account has that id.
        """
        with self._context.database.read() as session:
            return _find_developer(session, developer)

    def edit(
        self, name: str, organization: str = "", *, developer: str, address: str = ""
    ) -> Developer:
        """Change an account's profile; its address stays.

        Raises:
            InvalidForm: a field is not accepted.
            NoSuchAccount: no account has that id.
        """
        name, organization = name.strip(), organization.strip()
        problems = {
            "name": line_problem(name, LONGEST_NAME),
            "organization": line_problem(organization, LONGEST_NAME, required=False),
        }
        if any(problems.values()):
            raise InvalidForm({field: text for field, text in problems.items() if text})
        with self._context.database.write() as session:
            account = _find_developer(session, developer)
            account.name, account.organization = name, organization
        self._note("account-edited", developer, address)
        return account

    def all(self) -> tuple[Developer, ...]:
        """Return all accounts, the newest first."""
        with self._context.database.read() as session:
            query = select(Developer).order_by(Developer.created.desc(), Developer.id)
            return tuple(session.scalars(query))

    def delete(self, *, developer: str, address: str = "") -> None:
        """Delete an account and end its sessions. Delete its apps before (`Apps.delete`).

        Raises:
            NoSuchAccount: no account has that id.
        """
        with self._context.database.write() as session:
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer", SessionRow.subject == developer
                )
            )
            session.delete(_find_developer(session, developer))
        self._note("account-deleted", developer, address)

    def _note(self, action: Action, developer: str, address: str) -> None:
        self._context.note(action, developer=developer, by="developer", address=address)


def parse_email(text: str) -> str:
    """Return an e-mail address in lower case.

    Raises:
        InvalidForm: the text is not an address.
    """
    email = text.strip().lower()
    problem = email_problem(email)
    if problem:
        raise InvalidForm({"email": problem})
    return email


def _find_developer(session: Session, developer: str) -> Developer:
    account = session.get(Developer, developer)
    if account is None:
        raise NoSuchAccount("there is no such account")
    return account
