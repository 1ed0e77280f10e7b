"""The certificate: rows of the source compared with the bytes that were published.

Nothing here is shared with what checks rows or makes resources of them: amounts, dates and rules
are read again, from both ends. An import contract in `pyproject.toml` holds the room to it.
"""
