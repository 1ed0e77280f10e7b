"""The served release: its objects, indexes and cache."""
