"""Raw rows of a partition into canonical rows, as a layout says, and the way back."""
