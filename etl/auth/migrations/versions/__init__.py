"""Versions of the authorization server's database."""
