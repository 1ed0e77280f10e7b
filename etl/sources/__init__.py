"""CPCDS extracts in any known layout, into canonical rows cut by member."""

from __future__ import annotations

from etl.sources.events import Emit, Event, FileProgress, Hashed, Partitioned
from etl.sources.extract.opening import Extract, expected_model, open_extract
from etl.sources.files.source_files import SourceFile
from etl.sources.layout.canonical import CANONICAL, CANONICAL_LAYOUTS
from etl.sources.layout.model import Layout, LayoutText
from etl.sources.layout.syntax import read_layout
from etl.sources.partition.ids import GlobalKeys
from etl.sources.partition.partitions import Loaded, PartitionFacts, Partitions, RawTables
from etl.sources.partition.reading import partition_extract
from etl.sources.partition.spill import largest_partition
from etl.sources.partition.work_folder import largest_member, open_partitions, resume_partitions

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
    "partition_extract",
    "read_layout",
    "resume_partitions",
]
