"""One partition of members: rows checked, claims settled, resources mapped."""
