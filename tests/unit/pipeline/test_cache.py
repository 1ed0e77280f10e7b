"""What is remembered is of no use to another program: its text is part of what made it."""

from importlib.resources import files

from etl.pipeline.incremental.cache import CODE

NO_MATTER = {
    *("__init__.py", "errors.py", "jobs.py"),
    *("reports", "storage", "conform", "synth", "monitoring"),
}
"""Rooms that no outcome of a row hangs on, beside those that serve and those that start a run."""
ABOVE = {
    *("cli", "bootstrap", "local", "spark", "doctor"),
    *("portal", "gateway", "auth", "smart", "web"),
}


def test_every_room_that_makes_outcomes_of_rows_is_part_of_what_made_them():
    rooms = {part.name for part in files("etl").iterdir() if not part.name.startswith(("_", "."))}
    assert set(CODE) == rooms - NO_MATTER - ABOVE
