"""Opening an extract: staging, layout detection, and the list of its files."""
