"""The use cases: validate, convert, run. They know what is done, not how files or objects look."""
