"""The published tree: blocks, indexes, catalog and manifest, committed by one swap."""
