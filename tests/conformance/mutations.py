"""Breaks an example in every mechanical way: what is mandatory deleted, what is bound changed.

Knows profiles through `etl.profiles` and nothing of the checker: it walks an instance beside
the snapshot, deletes each element that the profile requires (and each required slice), and changes
code and system of every coding under a required binding.
"""

import copy
from dataclasses import dataclass
from typing import Any

from etl.profiles.structures import child
from etl.profiles.value_sets import value_set

Json = dict[str, Any]
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Mutation:
    """One way to break a resource.

    Attributes:
        kind: `delete`, `code` or `system`.
        element: id of the element that it breaks.
        path: where.
        value_set: the binding's, for `code` and `system`.
        resource: the broken resource.
    """

    kind: str
    element: str
    path: Path
    value_set: str
    resource: Json


def mutations(resource, profile):
    """Yield every mutation of a resource against a profile."""
    yield from _walk(resource, (), profile, profile.root, resource)


def _walk(root, path, profile, element, value):
    if not isinstance(value, dict):
        return
    for name in list(value):
        found = child(profile, element, name.removeprefix("_"))
        if found is None or name.startswith("_"):
            continue
        where, inner = found
        inner = _by_type(where, inner, name)
        here = (*path, name)
        if inner.min > 0:
            yield _deleted(root, here, inner.id)
        yield from _slices(root, here, where, inner, value[name])
        entries = value[name] if isinstance(value[name], list) else [value[name]]
        for index, entry in enumerate(entries):
            at = (*here, index) if isinstance(value[name], list) else here
            one = _slice_of(where, inner, entry)
            yield from _codes(root, at, one, entry)
            yield from _walk(root, at, where, one, entry)


def _by_type(profile, element, name):
    for one in profile.slices(element.id) if element.name.endswith("[x]") else ():
        kind = one.types[0].code
        if name == element.name[:-3] + kind[0].upper() + kind[1:]:
            return one
    return element


def _slice_of(profile, element, entry):
    """Return the slice that an entry is in, or the element itself."""
    if element.slicing is None or element.name.endswith("[x]"):
        return element
    for one in profile.slices(element.id):
        if all(_fits(profile, one, path, entry) for _, path in element.slicing.by):
            return one
    return element


def _fits(profile, one, path, entry):
    target = one if path == "$this" else profile.by_id.get(f"{one.id}.{path}")
    value = entry if path == "$this" else entry.get(path)
    if path == "url" and one.types[0].profiles:
        return bool(value == one.types[0].profiles[0])
    if target is None:
        return False
    if target.pattern is not None:
        return _subset(target.pattern, value)
    if target.fixed is not None:
        return bool(target.fixed == value)
    if target.binding is None:
        return False
    known = {(c.system, c.code) for c in value_set(target.binding.value_set).codes}
    return any((c.get("system"), c.get("code")) in known for c in (value or {}).get("coding", []))


def _subset(pattern, value):
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(_subset(v, value.get(k)) for k, v in pattern.items())
    if isinstance(pattern, list):
        return isinstance(value, list) and all(any(_subset(p, v) for v in value) for p in pattern)
    return bool(pattern == value)


def _slices(root, path, profile, element, value):
    """Yield the resource without the entries of each slice that is required."""
    if not isinstance(value, list):
        return
    for one in profile.slices(element.id):
        rest = [entry for entry in value if _slice_of(profile, element, entry) is not one]
        if one.min > 0 and len(rest) < len(value):
            broken = copy.deepcopy(root)
            _set(broken, path, copy.deepcopy(rest))
            if not rest:
                _delete(broken, path)
            yield Mutation("delete", one.id, path, "", broken)


def _codes(root, path, element, value):
    binding = element.binding
    if binding is None or binding.strength != "required":
        return
    if isinstance(value, str):
        yield _changed(root, path, element.id, "code", binding.value_set, "zz-mutated")
    if isinstance(value, dict):
        codings = value.get("coding")
        inside = (
            [(*path, "coding", index) for index in range(len(codings))]
            if isinstance(codings, list)
            else [path]
        )
        for at in inside:
            for kind in ("code", "system"):
                text = "zz-mutated" if kind == "code" else "http://example.org/zz-mutated"
                yield _changed(root, (*at, kind), element.id, kind, binding.value_set, text)


def _deleted(root, path, element):
    broken = copy.deepcopy(root)
    _delete(broken, path)
    return Mutation("delete", element, path, "", broken)


def _changed(root, path, element, kind, values, to):
    broken = copy.deepcopy(root)
    _set(broken, path, to)
    return Mutation(kind, element, path, values, broken)


def _delete(root, path):
    for step in path[:-1]:
        root = root[step]
    del root[path[-1]]


def _set(root, path, value):
    for step in path[:-1]:
        root = root[step]
    root[path[-1]] = value
