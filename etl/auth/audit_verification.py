"""Verification of the audit trail: every file's chain, and its head as the database has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etl.auth import audit_events
from etl.auth.database import Database
from etl.auth.database_tables import TrailRow


@dataclass(frozen=True, slots=True)
class TrailCheck:
    """Result of a check of the audit trail.

    Attributes:
        files: how many were read.
        events: how many they hold.
        problems: one sentence each; empty where all is as it was written.
    """

    files: int
    events: int
    problems: tuple[str, ...]


def verify_trail(folders: Sequence[Path], database: Database | None) -> TrailCheck:
    """Check that nothing in the audit trail was changed, taken out or put in.

    Args:
        folders: where the files are, those in an archive included.
        database: has the extent of each file; None to check the chains alone.
    """
    files = {
        path.name: path for folder in folders for path in sorted(folder.glob("audit-*.ndjson"))
    }
    heads: dict[str, list[str]] = {}
    problems: list[str] = []
    for name, path in sorted(files.items()):
        heads[name], problem = _chain(name, path)
        if problem:
            problems.append(problem)
    if database is not None:
        with database.read() as session:
            rows = session.query(TrailRow).order_by(TrailRow.file).all()
        for row in rows:
            head = heads.get(row.file)
            if head is None:
                problems.append(f"{row.file}: the file is missing; it held {row.events} events")
            elif len(head) < row.events:
                problems.append(
                    f"{row.file}: {row.events - len(head)} events are missing at its end"
                )
            elif row.events and head[row.events - 1] != row.head:
                problems.append(f"{row.file}: event {row.events} is not the one that was written")
        known = {row.file for row in rows}
        problems.extend(
            f"{name}: the server never reported this file" for name in heads if name not in known
        )
    return TrailCheck(len(files), sum(map(len, heads.values())), tuple(problems))


def _chain(name: str, path: Path) -> tuple[list[str], str]:
    heads: list[str] = []
    previous = audit_events.start_of(name)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                event = audit_events.parse(line)
                given = event.pop("id")
            except (ValueError, KeyError, AttributeError):
                return heads, f"{name}: line {number} is no event"
            previous, _ = audit_events.chained(previous, audit_events.canonical(event))
            if previous != given:
                return heads, f"{name}: line {number} was changed, or one before it is missing"
            heads.append(previous)
    return heads, ""
