"""Hooks of batch runs, all off by default: metrics and notifications."""
