"""One-time sign-in links for developers, sent by mail.

A link works for 15 minutes, once, and only in the browser that asked for it: who reads the mail
alone, or gets it forwarded, cannot use it. It opens a page with a button, so that a mail scanner
that fetches links does not use it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy import delete

from etl.auth.context import AuthContext, derived_key, hash_of
from etl.auth.database_tables import AssertionRow
from etl.auth.mail import Mail, Mailer

LINK_SECONDS: Final = 15 * 60
SIGN_IN_PATH: Final = "/sign-in"

_USED: Final = "sign-in link"
"""Client id under which used links are kept, beside the assertions that apps used."""

_TEXT: Final = """\
Someone, probably you, asked to sign in to the developer portal of {payer}.

Open this link within 15 minutes, in the browser in which you asked for it:

{link}

The link works only once. If you did not ask for it, ignore this email: the link does not work in
another browser.
"""


@dataclass(frozen=True, slots=True)
class RedeemedLink:
    """A valid sign-in link that was just used up.

    Attributes:
        email: the address that it was sent to.
        next_path: page of the portal to go on to.
    """

    email: str
    next_path: str


class SignInLinks:
    """Makes, sends and redeems sign-in links.

    Args:
        context: its database keeps the used links until they expire.
        mailer: sends the mail; None if no mail server is configured.
    """

    def __init__(self, context: AuthContext, mailer: Mailer | None) -> None:
        self._context = context
        self._mailer = mailer
        self._signer = URLSafeSerializer(
            derived_key(context.configuration.secret, "sign-in links"),
            signer_kwargs={"digest_method": sha256},
        )

    @property
    def reach_developers(self) -> bool:
        """Whether links reach a developer: by mail, or shown on the page of a sandbox."""
        return self._mailer is not None or self._context.configuration.sandbox

    def send(self, email: str, browser: str, next_path: str) -> Mail | None:
        """Send a link to an address.

        Args:
            email: the address, in lower case.
            browser: random name of the browser that asks.
            next_path: page of the portal to go on to.

        Returns:
            The mail, if it is not sent but shown: in a sandbox without a mail server.

        Raises:
            MailNotSent: the mail server did not take it.
        """
        content = [
            email,
            hash_of(browser),
            next_path,
            self._context.seconds() + LINK_SECONDS,
            self._context.new_token(16),
        ]
        link = self._context.configuration.url(f"{SIGN_IN_PATH}/{self._signer.dumps(content)}")
        text = _TEXT.format(payer=self._context.configuration.payer, link=link)
        mail = Mail(email, "Your link to sign in", text)
        if self._mailer is not None:
            self._mailer(mail)
            return None
        return mail if self._context.configuration.sandbox else None

    def redeem(self, token: str, browser: str) -> RedeemedLink | None:
        """Use a link up; None if it is forged, expired, used, or was asked for elsewhere.

        Waits for the database: call it in a thread.
        """
        try:
            email, asked_by, next_path, expires, _ = self._signer.loads(token)
        except BadData:
            return None
        if asked_by != hash_of(browser) or self._context.seconds() >= expires:
            return None
        with self._context.database.write() as session:
            session.execute(
                delete(AssertionRow).where(
                    AssertionRow.client_id == _USED, AssertionRow.expires < self._context.seconds()
                )
            )
            is_first = self._context.database.add_if_missing(
                session, AssertionRow, client_id=_USED, jti_hash=hash_of(token), expires=expires
            )
        return RedeemedLink(str(email), str(next_path)) if is_first else None
