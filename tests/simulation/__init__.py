"""The published tree under a seed: one seed is one schedule of processes, faults and time."""
