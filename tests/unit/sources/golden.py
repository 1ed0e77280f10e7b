"""Canonical rows as the golden cases of layouts have them written down."""

from __future__ import annotations

import json

from etl.sources import Partitions
from tests.unit.sources.extracts import all_loaded, findings_of


def as_text(parts: Partitions) -> str:
    """Every canonical row and every finding, one a line."""
    lines = []
    for loaded in all_loaded(parts):
        for name, table in loaded.tables.items():
            for row in table.to_pylist():
                place = f"{parts.facts.names[row.pop('_file')]}:{row.pop('_row')}"
                filled = {column: text for column, text in row.items() if text is not None}
                lines.append(json.dumps({"table": name, "place": place, **filled}))
    for rule, table, file, row, column in findings_of(parts):
        lines.append(
            json.dumps({"finding": rule, "table": table, "place": f"{file}:{row}", "in": column})
        )
    return "\n".join(lines) + "\n"
