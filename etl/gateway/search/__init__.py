"""Searches: parameters to conditions, conditions to rows."""
