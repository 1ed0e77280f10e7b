"""Incremental processing: unchanged members reuse the results of the previous release."""
