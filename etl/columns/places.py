"""Places of rows, file and row, as numbers that order like the places do."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN

_SHIFT: Final = 40


def place_keys(files: Any, rows: Any) -> Any:
    """Return one number for file and row, so that numbers order like places do."""
    return (np.asarray(files).astype(np.int64) << _SHIFT) | np.asarray(rows).astype(np.int64)


def places_of(table: pa.Table) -> tuple[Any, Any]:
    """Return the file and the row of each row of a canonical table, as numpy."""
    return table.column(FILE_COLUMN).to_numpy(), table.column(ROW_COLUMN).to_numpy()


def table_places(table: pa.Table) -> Any:
    """Return `place_keys` of the rows of a canonical table."""
    return place_keys(*places_of(table))
