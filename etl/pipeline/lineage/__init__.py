"""The way from the payer's cells to elements of resources, and back."""
