"""Counts and sums of partitions, and the limits on them."""
