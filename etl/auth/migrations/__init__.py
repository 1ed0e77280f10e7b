"""Alembic migrations of the authorization server's database."""
