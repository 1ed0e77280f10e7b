"""All tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = None
branch_labels = None
depends_on = None


def _words(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(length=255), nullable=False) for name in names]


def _numbers(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "access",
        *_words("consent_id", "day", "what", "client_id", "patient"),
        *_numbers("count", "last"),
        sa.PrimaryKeyConstraint("consent_id", "day", "what"),
    )
    op.create_index(op.f("ix_access_patient"), "access", ["patient"], unique=False)
    op.create_table(
        "access_year",
        sa.Column("year", sa.BigInteger(), autoincrement=False, nullable=False),
        *_numbers("members", "more_than_once", "several_apps"),
        sa.Column("apps", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("year"),
    )
    op.create_table(
        "app",
        *_words("client_id", "developer"),
        sa.Column("draft", sa.JSON(), nullable=False),
        *_words("status", "origin"),
        *_numbers("created"),
        *_words("secret_hash"),
        sa.Column("secret_made", sa.BigInteger(), nullable=True),
        sa.Column("is_plain", sa.Boolean(), nullable=False),
        sa.Column("is_approved", sa.Boolean(), nullable=False),
        *_words("disabled_by"),
        sa.PrimaryKeyConstraint("client_id"),
    )
    op.create_index(op.f("ix_app_developer"), "app", ["developer"], unique=False)
    op.create_table(
        "assertion",
        *_words("client_id", "jti_hash"),
        *_numbers("expires"),
        sa.PrimaryKeyConstraint("client_id", "jti_hash"),
    )
    op.create_index(op.f("ix_assertion_expires"), "assertion", ["expires"], unique=False)
    op.create_table(
        "audit_trail",
        *_words("file"),
        *_numbers("opened", "events"),
        *_words("head"),
        sa.PrimaryKeyConstraint("file"),
    )
    op.create_table(
        "developer",
        *_words("id", "email", "name", "organization"),
        *_numbers("created"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "failure",
        *_words("key"),
        *_numbers("count", "last", "locked_until"),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(op.f("ix_failure_last"), "failure", ["last"], unique=False)
    op.create_table(
        "revocation",
        *_words("kind", "subject"),
        *_numbers("until"),
        sa.PrimaryKeyConstraint("kind", "subject"),
    )
    op.create_index(op.f("ix_revocation_until"), "revocation", ["until"], unique=False)
    op.create_table(
        "session",
        *_words("hash", "kind", "subject"),
        *_numbers("signed_in", "seen", "expires"),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(op.f("ix_session_expires"), "session", ["expires"], unique=False)
    op.create_index(op.f("ix_session_subject"), "session", ["subject"], unique=False)
    op.create_table(
        "signing_key",
        *_words("kid", "use"),
        *_numbers("generation"),
        sa.Column("public", sa.JSON(), nullable=False),
        sa.Column("private", sa.Text(), nullable=False),
        *_numbers("signs_from", "signs_until", "published_until"),
        sa.PrimaryKeyConstraint("kid"),
        sa.UniqueConstraint("use", "generation", name="signing_key_generation"),
    )
    op.create_table(
        "consent",
        *_words("id", "client_id", "patient"),
        sa.Column("scope", sa.Text(), nullable=False),
        *_numbers("given", "expires"),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.Column("last_used", sa.BigInteger(), nullable=True),
        *_numbers("auth_time"),
        sa.ForeignKeyConstraint(["client_id"], ["app.client_id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("consent_patient", "consent", ["patient", "client_id"], unique=False)
    op.create_index(op.f("ix_consent_client_id"), "consent", ["client_id"], unique=False)
    op.create_table(
        "authorization_code",
        *_words("hash", "consent_id", "client_id"),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        *_words("code_challenge"),
        sa.Column("nonce", sa.Text(), nullable=False),
        *_numbers("expires"),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(
        op.f("ix_authorization_code_expires"), "authorization_code", ["expires"], unique=False
    )
    op.create_table(
        "refresh_token",
        *_words("hash", "consent_id", "client_id"),
        sa.Column("scope", sa.Text(), nullable=False),
        *_numbers("issued", "expires"),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(
        op.f("ix_refresh_token_consent_id"), "refresh_token", ["consent_id"], unique=False
    )
    op.create_index(op.f("ix_refresh_token_expires"), "refresh_token", ["expires"], unique=False)
