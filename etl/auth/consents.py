"""Members' consents: given once, revocable at any moment, with all their tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import joinedload

from etl.auth.context import AuthContext
from etl.auth.database_tables import AccessRow, App, CodeRow, Consent, RefreshRow
from etl.auth.records import AccessDay, Approval
from etl.auth.revocations import Revocations

_REPLAY_SECONDS: Final = 86_400


class Consents:
    """Members' consents. Its functions wait for the database: call them in a thread."""

    def __init__(self, context: AuthContext, revocations: Revocations) -> None:
        self._context = context
        self._revocations = revocations

    def give(self, client_id: str, approval: Approval) -> str:
        """Store a member's consent, and return its id."""
        consent = Consent(
            id=self._context.new_token(16),
            client_id=client_id,
            patient=approval.patient,
            scopes=approval.scopes,
            given=self._context.now(),
            expires=approval.expires,
            auth_time=int(approval.signed_in.timestamp()),
        )
        with self._context.database.write() as session:
            session.add(consent)
        self._context.note(
            "consent-given",
            client=client_id,
            patient=approval.patient,
            consent=consent.id,
            by="member",
            address=approval.address,
            detail=" ".join(approval.scopes),
        )
        return consent.id

    def of_patient(self, patient: str) -> tuple[Consent, ...]:
        """Return all consents of a member, the newest first, ended ones included."""
        query = (
            select(Consent)
            .where(Consent.patient == patient)
            .order_by(Consent.given.desc(), Consent.id)
            .options(joinedload(Consent.app))
        )
        with self._context.database.read() as session:
            return tuple(session.scalars(query))

    def history(self, patient: str) -> tuple[AccessDay, ...]:
        """Return the reads of a member's data by app, type and day, the newest first."""
        with self._context.database.read() as session:
            rows = session.execute(
                select(AccessRow, App)
                .join(App, App.client_id == AccessRow.client_id)
                .where(AccessRow.patient == patient)
                .order_by(AccessRow.last.desc(), AccessRow.what)
            )
            return tuple(
                AccessDay(
                    row.consent_id,
                    app.draft.name,
                    row.day,
                    row.what,
                    row.count,
                    datetime.fromtimestamp(row.last, UTC),
                )
                for row, app in rows
            )

    def revoke(
        self,
        consent_id: str,
        *,
        by: str,
        patient: str | None = None,
        address: str = "",
        detail: str = "",
    ) -> bool:
        """End a consent with all its tokens, at once.

        Args:
            consent_id: id of the consent.
            by: `member`, `app`, `operator` or `server`.
            patient: the member it must belong to; any member where not given.
            address: where the request came from.
            detail: why, for the audit trail.

        Returns:
            Whether an open consent was ended.
        """
        with self._context.database.write() as session:
            consent = session.get(Consent, consent_id, with_for_update=True)
            if consent is None or patient not in (None, consent.patient):
                return False
            was_open = consent.revoked is None
            if was_open:
                consent.revoked = self._context.now()
            self._revocations.add(session, "consent", consent_id)
        self._revocations.announce()
        if was_open:
            self._context.note(
                "consent-revoked",
                client=consent.client_id,
                patient=consent.patient,
                consent=consent_id,
                by=by,
                address=address,
                detail=detail,
            )
        return was_open

    def delete_expired(self) -> None:
        """Delete codes and refresh tokens a day after they expire, so that replays are detected."""
        expired_before = self._context.seconds() - _REPLAY_SECONDS
        with self._context.database.write() as session:
            session.execute(delete(CodeRow).where(CodeRow.expires < expired_before))
            session.execute(delete(RefreshRow).where(RefreshRow.expires < expired_before))

    def revoke_token(
        self, token_id: str, client_id: str, consent_id: str, *, address: str = ""
    ) -> None:
        """Revoke one access token; the consent stays open."""
        with self._context.database.write() as session:
            self._revocations.add(session, "token", token_id)
        self._revocations.announce()
        self._context.note(
            "token-revoked", client=client_id, consent=consent_id, by="app", address=address
        )
