"""Names of public classes: one name, one meaning, in all of `etl`."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import etl


def test_a_public_class_name_means_one_thing_in_the_whole_package() -> None:
    root = Path(etl.__file__).parent
    places = defaultdict(list)
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path.relative_to(root)}:{node.lineno}")
    assert len(places) > 400
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
