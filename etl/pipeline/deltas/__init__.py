"""Deltas: the rows that a release keeps, and the extract that all of them together make."""
