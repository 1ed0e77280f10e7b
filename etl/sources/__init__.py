"""CPCDS extracts in any known layout, into canonical rows cut by member."""

from __future__ import annotations

from etl.sources.canonical_layout import CANONICAL, CANONICAL_LAYOUTS
from etl.sources.events import Emit, Event, FileProgress, Hashed, Partitioned
from etl.sources.extract import Extract, SourceFile, expected_model, open_extract
from etl.sources.keys import GlobalKeys
from etl.sources.layout import Layout, LayoutText
from etl.sources.layout_syntax import read_layout
from etl.sources.partitions import Loaded, PartitionFacts, Partitions, RawTables
from etl.sources.read_extract import partition
from etl.sources.spilled_rows import largest_partition
from etl.sources.work_folder import largest_member, open_partitions, resume_partitions

__all__ = [
    "CANONICAL",
    "CANONICAL_LAYOUTS",
    "Emit",
    "Event",
    "Extract",
    "FileProgress",
    "GlobalKeys",
    "Hashed",
    "Layout",
    "LayoutText",
    "Loaded",
    "PartitionFacts",
    "Partitioned",
    "Partitions",
    "RawTables",
    "SourceFile",
    "expected_model",
    "largest_member",
    "largest_partition",
    "open_extract",
    "open_partitions",
    "partition",
    "read_layout",
    "resume_partitions",
]
