"""News of batch runs for other systems: metrics, pings, notifications, lineage. Off by default."""
