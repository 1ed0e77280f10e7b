"""The examination of unknown files: how they are written, what their columns hold."""
