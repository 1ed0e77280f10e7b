"""Configuration and files into wired objects: the one place that knows where everything lies."""
