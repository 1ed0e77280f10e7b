"""The tables of the first release. Nothing to do: new databases get the present tables at once."""

from __future__ import annotations

revision = "0004"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do nothing: no database is older."""
