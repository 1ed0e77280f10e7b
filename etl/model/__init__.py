"""Facts of the specifications, as data: canonical tables, crosswalks, codes, findings."""
