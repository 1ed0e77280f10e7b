"""Rows of text out of files: delimited text, records of fixed width, Parquet."""
