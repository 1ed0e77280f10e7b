"""Answers: Bundles, page links, includes, `$everything`."""
