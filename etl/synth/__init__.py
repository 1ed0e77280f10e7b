"""Synthetic extracts in the canonical layout: deterministic, streamed, of any size.

    write_extract(Path("world"), Spec(members=1000, seed=7))

Nothing in them is taken from elsewhere; `docs/samples.md` describes their content and how they are
made.
"""

from __future__ import annotations

from etl.synth.extract import Progress, WrittenExtract, write_extract
from etl.synth.spec import AS_OF, SINCE, Spec

__all__ = ["AS_OF", "SINCE", "Progress", "Spec", "WrittenExtract", "write_extract"]
