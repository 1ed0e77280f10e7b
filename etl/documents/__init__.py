"""Read documents that people write: rules, layouts, mappings, settings.

`yaml_text` parses text into values that keep their lines. `models` converts those to frozen
dataclasses, and reports every mistake with file, line and the nearest valid word.
"""
