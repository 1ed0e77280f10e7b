"""Verification time of a developer's address; existing accounts are not verified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("developer", sa.Column("verified", sa.BigInteger(), nullable=True))
