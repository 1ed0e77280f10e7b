"""Modules of the package import each other in one direction."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import etl

ROOT = Path(etl.__file__).parent
MODULES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_bytes())
    for path in sorted(ROOT.rglob("*.py"))
}


def test_no_two_modules_import_each_other():
    sorter = TopologicalSorter({path: imported(tree) for path, tree in MODULES.items()})
    assert len(list(sorter.static_order())) > 300  # raises CycleError, naming the modules


def imported(tree):
    """Return the modules of the package that a module imports when it is loaded or run.

    Names of a package's own `__init__` count as imports of it.
    """
    for_types = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in for_types:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {module_path(name) or module_path(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {module_path(alias.name) for alias in node.names}
    return found - {""}


def module_path(name):
    base = name.removeprefix("etl.").replace(".", "/")
    return next((at for at in (f"{base}.py", f"{base}/__init__.py") if at in MODULES), "")
