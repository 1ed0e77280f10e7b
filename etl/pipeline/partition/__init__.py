"""One partition of members: rows checked, claims finalized, resources mapped."""
