"""Rows partitioned by member into a work folder, and read again a partition at a time."""
