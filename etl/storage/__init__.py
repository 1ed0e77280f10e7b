"""Object storage: one port, and memory, folder and S3 behind it."""
