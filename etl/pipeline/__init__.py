"""The use cases: validate, convert, run. They state what is done, not how files or objects look."""
