"""The files of an extract: where they lie, how they are written, what stands beside them."""
