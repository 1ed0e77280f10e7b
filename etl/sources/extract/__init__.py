"""Opening an extract: what is staged, which layout fits, what its files are."""
