"""Synthetic extracts in the canonical layout: deterministic, streamed, of any size.

    extract.write_extract(Path("world"), Spec(members=1000, seed=7))
    extract.write_network(Path("directory"), NetworkSpec(practitioners=1000, seed=7))

Nothing in them is taken from elsewhere; `docs/samples.md` describes their content and how they are
made.
"""
