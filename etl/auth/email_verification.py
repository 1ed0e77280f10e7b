"""E-mail verification of developers, by a link that is sent to them.

A link is valid for a day, and only for the signed-in account that requested it. It takes both the
account's password and access to the mail to use one.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from itsdangerous import BadData, URLSafeSerializer

from etl.auth.configuration import AuthConfiguration, Clock, seconds
from etl.auth.mail import Mail, Mailer
from etl.auth.secrets import derived_key

LINK_SECONDS: Final = 24 * 3600
VERIFY_PATH: Final = "/profile/verify"

_TEXT: Final = """\
Somebody, you we hope, has an account for developers at {payer} and gave this address.

To confirm that it is yours, sign in there and open this link within a day:

{link}

If it was not you, do nothing: the account is of no use without your confirmation.
"""

_TAKEN: Final = """\
Somebody, you we hope, gave this address for an account for developers at {payer}.

You have an account with it already. Sign in to that one:

{link}

If you forgot its password, {payer} gives you a new one. If it was not you, do nothing.
"""
SIGN_IN_PATH: Final = "/sign-in"


class Addresses:
    """Makes and checks the links that verify addresses.

    Args:
        configuration: the server's.
        mailer: sends the mail; None where no mail server is configured.
        clock: gives the present time.
    """

    def __init__(
        self, configuration: AuthConfiguration, mailer: Mailer | None, clock: Clock
    ) -> None:
        self._configuration = configuration
        self._mailer = mailer
        self._clock = clock
        self._signer = URLSafeSerializer(
            derived_key(configuration.secret, "addresses"), signer_kwargs={"digest_method": sha256}
        )

    @property
    def sends(self) -> bool:
        """Whether mail is sent; in a sandbox without a mail server it is shown instead."""
        return self._mailer is not None

    def mail(self, developer: str, email: str) -> Mail:
        """Return the mail that asks the owner of an address to confirm it.

        Args:
            developer: id of the account.
            email: the address to verify.
        """
        token = self._signer.dumps([developer, email, seconds(self._clock) + LINK_SECONDS])
        link = self._configuration.url(f"{VERIFY_PATH}/{token}")
        payer = self._configuration.payer
        return Mail(email, "Confirm your e-mail address", _TEXT.format(payer=payer, link=link))

    def send(self, developer: str, email: str, *, is_taken: bool = False) -> None:
        """Send that mail; nothing where no mail server is configured.

        Args:
            developer: id of the account.
            email: the address to verify.
            is_taken: whether another account has it: then the mail says so, and confirms nothing.

        Raises:
            MailNotSent: the server did not take it.
        """
        if self._mailer is None:
            return
        mail = self.mail(developer, email)
        if is_taken:
            payer, link = self._configuration.payer, self._configuration.url(SIGN_IN_PATH)
            mail = Mail(email, mail.subject, _TAKEN.format(payer=payer, link=link))
        self._mailer(mail)

    def confirmed(self, token: str, developer: str) -> str | None:
        """Return the address that a link confirms for an account; None for an invalid link."""
        try:
            account, email, until = self._signer.loads(token)
        except BadData:
            return None
        return str(email) if account == developer and seconds(self._clock) < until else None
