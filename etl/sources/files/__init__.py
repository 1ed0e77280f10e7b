"""The files of an extract: their storage, their formats, and the manifest."""
