"""What the specifications say, as data: canonical tables, profile facts, code systems, findings."""
