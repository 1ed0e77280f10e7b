"""The mapping language: YAML and expressions into checked, immutable plans. No I/O, no Arrow."""
