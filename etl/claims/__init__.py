"""What knows claims: chains, care teams, adjustment reasons, masking; before any is mapped."""
