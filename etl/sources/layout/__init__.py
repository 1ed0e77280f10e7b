"""Layout files: their grammar, what they extend, the checks of what they say."""
