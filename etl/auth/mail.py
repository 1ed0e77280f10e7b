"""Mail to developers: one text, one address, through the payer's SMTP server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from etl.auth.configuration import LOOPBACK, Clock

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10

Encryption = Literal["starttls", "tls", "none"]
"""`starttls`: RFC 3207, on port 587; `tls`: from the first byte, RFC 8314, on port 465."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail.

    Attributes:
        to: the recipient's address.
        subject: one line.
        text: plain text.
    """

    to: str
    subject: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MailServer:
    """The SMTP server that mail is handed to.

    Attributes:
        host: its name.
        port: its port.
        encryption: encryption of the connection.
        user: account there; empty for none.
        password: its password. Not printed.
        sender: address that mail comes from.
    """

    host: str
    port: int
    encryption: Encryption
    user: str
    password: str = field(repr=False)
    sender: str

    @classmethod
    def of(cls, url: str, sender: str) -> MailServer:
        """Return the server of a URL `smtps://user:password@host:port`, or `smtp:`.

        Mail holds links: with `smtp:` it goes in the clear to a loopback address only.

        Raises:
            ValueError: the URL is invalid; the message does not repeat it.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("no URL like smtps://user:password@mail.example.org")
        encryption: Encryption = "tls" if parts.scheme == "smtps" else "starttls"
        if encryption == "starttls" and parts.hostname in LOOPBACK:
            encryption = "none"
        try:
            port = parts.port or (465 if encryption == "tls" else 587)
        except ValueError:
            raise ValueError("its port is no number up to 65535") from None
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname, port, encryption, user, password, sender)


class MailNotSent(Exception):
    """The mail server does not answer, or does not take a mail; it may be tried again."""


Mailer = Callable[[Mail], None]
"""Hands a mail to a server. Waits for the network: call it in a thread. Raises MailNotSent."""


def smtp_mailer(server: MailServer, clock: Clock) -> Mailer:
    """Return a function that sends mail through a server."""
    # Imported here: most servers have no mail server, and start faster without it.
    import smtplib
    import ssl
    from email.message import EmailMessage
    from email.utils import format_datetime, make_msgid

    def send(mail: Mail) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = server.sender, mail.to, mail.subject
        message["Date"] = format_datetime(clock())
        message["Message-ID"] = make_msgid(domain=server.sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: suppresses automatic replies
        message.set_content(mail.text)
        try:
            context = ssl.create_default_context()
            with (
                smtplib.SMTP_SSL(server.host, server.port, timeout=TIMEOUT_SECONDS, context=context)
                if server.encryption == "tls"
                else smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
            ) as connection:
                if server.encryption == "starttls":
                    connection.starttls(context=context)
                if server.user:
                    connection.login(server.user, server.password)
                connection.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            # The server's message may repeat the address.
            log.warning("no mail was sent: %s", type(error).__name__)
            raise MailNotSent from None

    return send
