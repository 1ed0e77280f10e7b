"""Judged from outside: HL7's own Java engine over what the project writes."""
