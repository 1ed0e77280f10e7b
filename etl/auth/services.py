"""The parts of the authorization server, for its routes and the portal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etl.auth.apps import Apps
from etl.auth.audit import AuditTrail
from etl.auth.configuration import ACCESS_DAYS, AuthConfiguration, Clock, Randomness
from etl.auth.consents import Consents
from etl.auth.context import AuthContext
from etl.auth.database import Database
from etl.auth.developers import Developers
from etl.auth.form_protection import Browsers
from etl.auth.lockout import Lockout
from etl.auth.mail import Mailer
from etl.auth.members import DemoSignIn, IsPublished, PatientOf, ProviderSignIn
from etl.auth.oauth import Protocol
from etl.auth.pages import PageRenderer
from etl.auth.rate_limits import rates_of
from etl.auth.revocations import Revocations
from etl.auth.sessions import Sessions
from etl.auth.sign_in_links import SignInLinks
from etl.auth.signing_keys import Keys
from etl.auth.verifier import LocalVerifier
from etl.auth.yearly_numbers import delete_old_counts
from etl.web.rate_limits import RateLimiter


class Services:
    """The authorization server on a database that is migrated: its parts, each with one task.

    Nothing runs yet.

    Args:
        configuration: how it is set up.
        database: the server's database; shared by all processes.
        audit: folder of the audit trail; each process writes files of its own there.
        clock: gives the present time, with its zone.
        randomness: gives unpredictable bytes.
        patient_of: member id → logical id of the Patient.
        rates: other limits than `etl.auth.rate_limits.RATES`.
        is_published: whether the served release has a Patient; if not given, no member is
            refused for having no data.
        mailer: sends mail to developers; None if no mail server is configured.
    """

    def __init__(
        self,
        configuration: AuthConfiguration,
        database: Database,
        audit: Path,
        *,
        clock: Clock,
        randomness: Randomness,
        patient_of: PatientOf,
        is_published: IsPublished | None = None,
        rates: Mapping[str, str] | None = None,
        mailer: Mailer | None = None,
    ) -> None:
        self.configuration = configuration
        self.database = database
        self.clock = clock
        self.trail = AuditTrail(audit, database, clock=clock, randomness=randomness)
        context = AuthContext(configuration, database, clock, randomness, self.trail)
        self.context = context
        self.keys = Keys(context)
        self.revocations = Revocations(context)
        self.verifier = LocalVerifier(context, self.keys, self.revocations)
        self.apps = Apps(context, self.revocations)
        self.consents = Consents(context, self.revocations)
        self.protocol = Protocol(context, self.apps, self.consents, self.keys, self.verifier)
        self.developers = Developers(context)
        self.sign_in_links = SignInLinks(context, mailer)
        self.sessions = Sessions(context)
        self.browsers = Browsers(context)
        self.lockout = Lockout(context)
        self.limits = RateLimiter(rates_of(rates or {}))
        self.pages = PageRenderer(configuration)
        self.is_published = is_published or _allow_all
        # Members sign in at the identity provider, else in the demo directory.
        self.provider: ProviderSignIn | None = None
        self.demo: DemoSignIn | None = None
        if configuration.identity_provider is not None:
            self.provider = ProviderSignIn(context, configuration.identity_provider, patient_of)
        elif configuration.demo is not None:
            self.demo = DemoSignIn(context, configuration.demo, self.lockout)

    def delete_expired(self) -> None:
        """Delete expired sessions, codes, tokens and failures, and old years' counts by member.

        Call it periodically.
        """
        self.sessions.delete_expired()
        self.lockout.delete_expired()
        self.revocations.delete_expired()
        self.consents.delete_expired()
        delete_old_counts(self.database, self.clock().date(), ACCESS_DAYS)


async def _allow_all(patient: str) -> bool:
    return True
