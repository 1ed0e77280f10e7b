"""Hooks of batch runs, all off by default: metrics, notifications, OpenLineage events."""
