"""News of batch runs for other systems: metrics, hooks, notifications, lineage. Off by default."""
