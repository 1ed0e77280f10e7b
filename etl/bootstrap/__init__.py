"""Configuration and files into wired objects: the composition root."""
