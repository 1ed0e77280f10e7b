"""Columns of text in canonical form: dates, numbers, codes; a whole column at a time."""
