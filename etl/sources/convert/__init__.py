"""Conversion of raw rows to canonical rows by a layout, and tracing cells back."""
