"""Synthetic extracts in the canonical layout: deterministic, streamed, of any size.

    write_extract(Path("world"), Spec(members=1000, seed=7))
    write_network(Path("directory"), Spec(practitioners=1000, seed=7))

Nothing in them is taken from elsewhere; `docs/samples.md` describes their content and how they are
made.
"""

from __future__ import annotations

from etl.synth.extract import write_extract, write_network
from etl.synth.spec import Spec

__all__ = ["Spec", "write_extract", "write_network"]
