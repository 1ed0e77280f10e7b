"""The sidecar of a release: which rows of which files its resources were made of, without rows."""
