"""Logic of claims before mapping: chains, care teams, adjustment reasons, masking."""
