"""The executor of this machine: worker processes, and checkpoints in the work folder."""
