"""The SMART authorization server: apps, members' consents, tokens, and the audit trail."""
