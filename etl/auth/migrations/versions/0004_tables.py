"""All tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "access",
        sa.Column("consent_id", sa.String(length=255), nullable=False),
        sa.Column("day", sa.String(length=255), nullable=False),
        sa.Column("what", sa.String(length=255), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("patient", sa.String(length=255), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("consent_id", "day", "what"),
    )
    op.create_index(op.f("ix_access_patient"), "access", ["patient"], unique=False)
    op.create_table(
        "access_year",
        sa.Column("year", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=False),
        sa.Column("more_than_once", sa.BigInteger(), nullable=False),
        sa.Column("several_apps", sa.BigInteger(), nullable=False),
        sa.Column("apps", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("year"),
    )
    op.create_table(
        "app",
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("developer", sa.String(length=255), nullable=False),
        sa.Column("draft", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=255), nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("secret_hash", sa.String(length=255), nullable=False),
        sa.Column("secret_made", sa.BigInteger(), nullable=True),
        sa.Column("is_plain", sa.Boolean(), nullable=False),
        sa.Column("is_approved", sa.Boolean(), nullable=False),
        sa.Column("disabled_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("client_id"),
    )
    op.create_index(op.f("ix_app_developer"), "app", ["developer"], unique=False)
    op.create_table(
        "assertion",
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("jti_hash", sa.String(length=255), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "jti_hash"),
    )
    op.create_index(op.f("ix_assertion_expires"), "assertion", ["expires"], unique=False)
    op.create_table(
        "audit_trail",
        sa.Column("file", sa.String(length=255), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("file"),
    )
    op.create_table(
        "developer",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("email", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("organization", sa.String(length=255), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("email"),
    )
    op.create_table(
        "failure",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("locked_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index(op.f("ix_failure_last"), "failure", ["last"], unique=False)
    op.create_table(
        "revocation",
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject"),
    )
    op.create_index(op.f("ix_revocation_until"), "revocation", ["until"], unique=False)
    op.create_table(
        "session",
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("signed_in", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(op.f("ix_session_expires"), "session", ["expires"], unique=False)
    op.create_index(op.f("ix_session_subject"), "session", ["subject"], unique=False)
    op.create_table(
        "signing_key",
        sa.Column("kid", sa.String(length=255), nullable=False),
        sa.Column("use", sa.String(length=255), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("public", sa.JSON(), nullable=False),
        sa.Column("private", sa.Text(), nullable=False),
        sa.Column("signs_from", sa.BigInteger(), nullable=False),
        sa.Column("signs_until", sa.BigInteger(), nullable=False),
        sa.Column("published_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid"),
        sa.UniqueConstraint("use", "generation", name="signing_key_generation"),
    )
    op.create_table(
        "consent",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("patient", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("given", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("revoked", sa.BigInteger(), nullable=True),
        sa.Column("last_used", sa.BigInteger(), nullable=True),
        sa.Column("auth_time", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["app.client_id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("consent_patient", "consent", ["patient", "client_id"], unique=False)
    op.create_index(op.f("ix_consent_client_id"), "consent", ["client_id"], unique=False)
    op.create_table(
        "authorization_code",
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.Column("consent_id", sa.String(length=255), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.String(length=255), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(
        op.f("ix_authorization_code_expires"), "authorization_code", ["expires"], unique=False
    )
    op.create_table(
        "refresh_token",
        sa.Column("hash", sa.String(length=255), nullable=False),
        sa.Column("consent_id", sa.String(length=255), nullable=False),
        sa.Column("client_id", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["consent_id"], ["consent.id"]),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_index(
        op.f("ix_refresh_token_consent_id"), "refresh_token", ["consent_id"], unique=False
    )
    op.create_index(op.f("ix_refresh_token_expires"), "refresh_token", ["expires"], unique=False)
