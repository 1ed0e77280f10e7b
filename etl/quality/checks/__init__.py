"""Checks of rules over the columns of a partition, and the rows they reject."""
