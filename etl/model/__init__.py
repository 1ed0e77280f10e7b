"""What the specifications say, as data: canonical tables, crosswalks, codes, findings."""
