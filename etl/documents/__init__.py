"""Documents that people write (rules, layouts, mappings, settings), read in one way.

`yaml_text` turns text into values that keep their lines. `models` turns those into frozen
dataclasses, and reports every mistake with file, line and the nearest valid word.
"""
