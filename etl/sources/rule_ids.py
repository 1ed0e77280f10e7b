"""Ids of the findings of this room; `mappings/rules/sources.yaml` explains them."""

from __future__ import annotations

from typing import Final

UNKNOWN_FILE: Final = "unknown-file"
UNKNOWN_COLUMN: Final = "unknown-column"
UNUSED_ROW: Final = "unused-row"
RAGGED_ROW: Final = "ragged-row"
CONFLICT: Final = "dialect-conflict"
LEFT_OUT_CONFLICT: Final = "dialect-conflict-left-out"
SPLIT_FILLS: Final = "dialect-fills-split"
AMBIGUOUS_LOOKUP: Final = "dialect-ambiguous-lookup"
LOOKUP_WITHOUT_ROW: Final = "dialect-lookup-without-row"
UNREADABLE_VALUE: Final = "dialect-unreadable-value"
SENTINEL_DATE: Final = "dialect-sentinel-date"
ROUNDED_AMOUNT: Final = "dialect-rounded-amount"
UNMAPPED_WORD: Final = "dialect-unmapped-word"
UNKNOWN_STATUS: Final = "dialect-unknown-status"
WORD_WITHOUT_CODE: Final = "dialect-word-without-code"
FOREIGN_CODE_SYSTEM: Final = "dialect-foreign-code-system"
STAND_IN_VALUE: Final = "dialect-stand-in-value"
FACT_WITHOUT_ROW: Final = "dialect-fact-without-row"

NAMED_IN_LAYOUTS: Final = (UNMAPPED_WORD, UNKNOWN_STATUS, FOREIGN_CODE_SYSTEM, STAND_IN_VALUE)
"""Those that a layout file may name for a column."""
