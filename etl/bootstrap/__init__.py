"""The composition root: wires objects from settings and files."""
