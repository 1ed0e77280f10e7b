"""Counts of years that are over, which stay when the daily counts by member are deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "access_year",
        sa.Column("year", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=False),
        sa.Column("more_than_once", sa.BigInteger(), nullable=False),
        sa.Column("several_apps", sa.BigInteger(), nullable=False),
        sa.Column("apps", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("year"),
    )
