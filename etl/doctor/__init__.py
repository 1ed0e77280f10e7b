"""The examination of files that nobody has seen: how they are written, what their columns hold."""
