"""Layout files: their grammar, inheritance, and checks."""
