"""Object storage: one port with folder and S3 behind it, and asynchronous reading of both."""
