"""Synthetic extracts in the canonical layout: deterministic, streamed, of any size.

    write_extract(Path("world"), Spec(members=1000, seed=7))
    write_network(Path("directory"), NetworkSpec(practitioners=1000, seed=7))

Nothing in them is taken from elsewhere; `docs/samples.md` describes their content and how they are
made.
"""

from __future__ import annotations

from etl.synth.extract import NetworkSpec, Progress, write_extract, write_network
from etl.synth.extract_writer import WrittenExtract
from etl.synth.spec import AS_OF, SINCE, Spec

__all__ = [
    "AS_OF",
    "SINCE",
    "NetworkSpec",
    "Progress",
    "Spec",
    "WrittenExtract",
    "write_extract",
    "write_network",
]
