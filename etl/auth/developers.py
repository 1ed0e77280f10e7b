"""Accounts of developers on the portal."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from etl.auth.configuration import AuthConfiguration, Clock, Randomness, seconds
from etl.auth.database import Database
from etl.auth.database_tables import AppRow, DeveloperRow, SessionRow
from etl.auth.email_verification import Addresses
from etl.auth.lockout import REFUSED, Lockout
from etl.auth.mail import Mail
from etl.auth.records import (
    Action,
    Developer,
    Happening,
    InvalidForm,
    NoSuchAccount,
    Note,
    SignInRefused,
)
from etl.auth.registration import LONGEST_NAME, is_email, line_problem
from etl.auth.secrets import is_guessable, is_password, new_token, password_hash

SHORTEST_PASSWORD: Final = 12
"""NIST SP 800-63B: length counts, rules about characters do not."""

LONGEST_PASSWORD: Final = 200


class Developers:
    """Accounts of developers. Its functions wait for the database: call them in a thread."""

    def __init__(
        self,
        database: Database,
        lockout: Lockout,
        addresses: Addresses,
        configuration: AuthConfiguration,
        *,
        clock: Clock,
        randomness: Randomness,
        note: Note,
    ) -> None:
        self._database = database
        self._lockout = lockout
        self._addresses = addresses
        self._configuration = configuration
        self._clock = clock
        self._randomness = randomness
        self._note = note

    def sign_up(
        self, *, email: str, name: str, password: str, organization: str = "", address: str = ""
    ) -> Developer:
        """Open an account. Its address is not verified yet: `ask_verification`.

        In production an unverified account without apps is replaced by a new one: an address
        belongs to whoever reads its mail, not to whoever named it first. An address of another
        account is accepted like any other, or sign-up would tell who has an account; the new
        account is never confirmed then, and the owner of the address is told by mail.

        Raises:
            InvalidForm: `email`, `name`, `organization` or `password` is not accepted.
        """
        email = email.strip().lower()
        problems = _problems(email, name.strip(), organization.strip())
        problems |= self._weakness(password, email, name, organization)
        if problems:
            raise InvalidForm(problems)
        developer = new_token(self._randomness, 16)
        row = DeveloperRow(
            id=developer,
            email=_second_address(email, developer),
            name=name.strip(),
            organization=organization.strip(),
            password_hash=password_hash(password),
            created=seconds(self._clock),
            verified=None,
        )
        with self._database.write() as session:
            session.add(row)
        with (
            suppress(IntegrityError),
            self._database.write() as session,
        ):  # two at once: one gets it
            _row(session, developer).email = row.email = self._address(session, email, developer)
        self._say("account-opened", row.id, address)
        return _developer(row)

    def sign_in(self, *, email: str, password: str, address: str = "") -> Developer:
        """Return the developer of a name and password.

        Raises:
            SignInRefused: invalid, or locked after too many invalid ones.
        """
        email = email.strip().lower()
        self._lockout.check(email, address)
        with self._database.read() as session:
            rows = _all_with_email(session, email)
        hashes: list[str | None] = [row.password_hash for row in rows]
        hashes += [None] * (2 - len(rows))  # takes as long for no account, for one and for two
        given = password[:LONGEST_PASSWORD]
        matches = [is_password(given, password_hash) for password_hash in hashes]
        if True not in matches:
            self._lockout.failed(email, address)
            self._say("developer-sign-in", rows[0].id if rows else "", address, succeeded=False)
            raise SignInRefused(REFUSED)
        row = rows[matches.index(True)]
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
        """Change an account's profile; its address only when that is verified (`verify`).

        Raises:
            InvalidForm: a field is not accepted.
            NoSuchAccount: there is none of that id.
        """
        email = email.strip().lower()
        problems = _problems(email, name.strip(), organization.strip())
        if problems:
            raise InvalidForm(problems)
        with self._database.write() as session:
            row = _row(session, developer)
            if email != _shown_address(row) and not self.can_verify:
                raise InvalidForm(
                    {"email": "It can be changed by the payer only: no mail is sent."}
                )
            row.name, row.organization = name.strip(), organization.strip()
        self._say("account-edited", developer, address)
        return _developer(row)

    @property
    def can_verify(self) -> bool:
        """Whether links reach a developer: by mail, or shown in a sandbox."""
        return self._addresses.sends or self._configuration.sandbox

    @property
    def shows_mail(self) -> bool:
        """Whether mail is shown and not sent: in a sandbox without mail server."""
        return self._configuration.sandbox and not self._addresses.sends

    def ask_verification(self, developer: str, *, email: str = "") -> Mail | None:
        """Send the link that verifies an account's address.

        Args:
            developer: id of the account.
            email: the address that it shall have; its present one where not given.

        Returns:
            The mail, where none is sent and it has to be shown: in a sandbox without mail server.

        Raises:
            MailNotSent: the mail server did not take it.
            NoSuchAccount: there is none of that id.
        """
        to = email.strip().lower() or self.get(developer).email
        if self._addresses.sends:
            with self._database.read() as session:
                is_taken = self._is_taken(session, to, developer)
            self._addresses.send(developer, to, is_taken=is_taken)
            return None
        return self._addresses.mail(developer, to) if self.shows_mail else None

    def verify(self, developer: str, token: str, *, address: str = "") -> bool:
        """Give an account the address that a link confirms; return whether the link was good.

        As in `sign_up`, an unverified account with this address is replaced. A sandbox shows the
        mail to anyone, so the link of another account's address is good there as well.

        Raises:
            NoSuchAccount: there is none of that id.
        """
        email = self._addresses.confirmed(token, developer)
        if email is None:
            return False
        try:
            with self._database.write() as session:
                row = _row(session, developer)
                address_stored = self._address(session, email, developer)
                if address_stored != email and not self._configuration.sandbox:
                    return False
                row.email, row.verified = address_stored, seconds(self._clock)
        except IntegrityError:  # another account has verified it since
            return False
        self._say("account-verified", developer, address)
        return True

    def verify_by_operator(self, email: str) -> Developer:
        """Mark an address as verified: the operator has checked it by other means.

        Raises:
            NoSuchAccount: there is none with that address.
        """
        with self._database.write() as session:
            row = _by_email(session, email)
            row.verified = seconds(self._clock)
        self._note(Happening(self._clock(), "account-verified", developer=row.id, by="operator"))
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
            InvalidForm: the old one is invalid (`old`) or the new one is not accepted (`new`).
            SignInRefused: locked after too many invalid ones.
            NoSuchAccount: there is none of that id.
        """
        with self._database.read() as session:
            row = _row(session, developer)
        email = _shown_address(row)
        self._lockout.check(email, address)
        if not is_password(old[:LONGEST_PASSWORD], row.password_hash):
            self._lockout.failed(email, address)
            raise InvalidForm({"old": "That is not the present password."})
        problems = self._weakness(new, email, row.name, row.organization)
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

        For the operator, who has verified the requester's identity by other means.

        Args:
            email: the account's address.

        Returns:
            The password, to be handed over by a channel that only the owner reads.

        Raises:
            NoSuchAccount: there is none with that address.
        """
        password = new_token(self._randomness, 18)
        with self._database.write() as session:
            row = _by_email(session, email)
            row.password_hash = password_hash(password)
            session.execute(
                delete(SessionRow).where(
                    SessionRow.kind == "developer", SessionRow.subject == row.id
                )
            )
        self._lockout.succeeded(row.email)
        self._note(Happening(self._clock(), "password-changed", developer=row.id, by="operator"))
        return password

    def of_email(self, email: str) -> Developer:
        """Return the account with an address.

        Raises:
            NoSuchAccount: there is none.
        """
        with self._database.read() as session:
            return _developer(_by_email(session, email))

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
            _delete(session, _row(session, developer))
        self._say("account-deleted", developer, address)

    def _address(self, session: Session, email: str, developer: str) -> str:
        """Return what an account's address is stored as; delete accounts that give way to it."""
        for other in _all_with_email(session, email):
            if other.id != developer and self._gives_way(session, other):
                _delete(session, other)
        is_taken = self._is_taken(session, email, developer)
        return _second_address(email, developer) if is_taken else email

    def _is_taken(self, session: Session, email: str, developer: str) -> bool:
        """Return whether another account has an address, and does not give way."""
        other = _with_email(session, email)
        if other is None or other.id == developer:
            return False
        return not self._gives_way(session, other)

    def _gives_way(self, session: Session, row: DeveloperRow) -> bool:
        """Return whether an account can be replaced by whoever reads the mail of its address.

        Its address is not verified and it has no apps; in a sandbox, which verifies none, it is
        also not the first with this address.
        """
        is_first = row.email == _shown_address(row)
        if row.verified is not None or (self._configuration.sandbox and is_first):
            return False
        apps = select(AppRow.client_id).where(AppRow.developer == row.id)
        return session.scalar(apps.limit(1)) is None

    def _weakness(self, password: str, *known: str) -> dict[str, str]:
        """Return the words of an account's profile that make a password easy to guess."""
        problem = ""
        if len(password) < SHORTEST_PASSWORD:
            problem = f"At least {SHORTEST_PASSWORD} characters, please."
        elif len(password) > LONGEST_PASSWORD:
            problem = f"At most {LONGEST_PASSWORD} characters, please."
        elif is_guessable(password, (*known, self._configuration.payer)):
            problem = "That is too easy to guess."
        return {"password": problem} if problem else {}

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


def _with_email(session: Session, email: str) -> DeveloperRow | None:
    return session.scalar(select(DeveloperRow).where(DeveloperRow.email == email))


def _all_with_email(session: Session, email: str) -> list[DeveloperRow]:
    """Return the accounts that say an address is theirs: first the one that nobody can doubt."""
    is_second = DeveloperRow.email.startswith(_second_address(email, ""), autoescape=True)
    either = (DeveloperRow.email == email) | is_second
    return list(session.scalars(select(DeveloperRow).where(either).order_by(DeveloperRow.email)))


def _second_address(email: str, developer: str) -> str:
    """Return how an address is stored that another account has: no address holds a blank."""
    return f"{email} {developer}"


def _shown_address(row: DeveloperRow) -> str:
    return row.email.partition(" ")[0]


def _by_email(session: Session, email: str) -> DeveloperRow:
    row = _with_email(session, email.strip().lower())
    if row is None:
        raise NoSuchAccount("there is no account with that address")
    return row


def _delete(session: Session, row: DeveloperRow) -> None:
    """Delete an account and its sessions, before its address passes to another account."""
    session.execute(
        delete(SessionRow).where(SessionRow.kind == "developer", SessionRow.subject == row.id)
    )
    session.delete(row)
    session.flush()


def _developer(row: DeveloperRow) -> Developer:
    created = datetime.fromtimestamp(row.created, UTC)
    verified = None if row.verified is None else datetime.fromtimestamp(row.verified, UTC)
    return Developer(row.id, _shown_address(row), row.name, row.organization, created, verified)


def _problems(email: str, name: str, organization: str) -> dict[str, str]:
    problems = {
        "email": line_problem(email, 254)
        or ("" if is_email(email) else "It is no e-mail address."),
        "name": line_problem(name, LONGEST_NAME),
        "organization": line_problem(organization, LONGEST_NAME, required=False),
    }
    return {field: text for field, text in problems.items() if text}
