"""A compiled mapping: what to write for each row, with nothing left to look up.

A plan is a tree shaped like the JSON it makes. Fragments, static tables, constants and settings
are gone; what is left is constants, expressions, conditions and loops over related rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from etl.documents.yaml_text import Mark
from etl.mapping.expressions import Condition, Expr, Translated
from etl.model.relations import Many


@dataclass(frozen=True, slots=True)
class CitedMark(Mark):
    """Mark of a line of a mapping, with the MapIDs that the line cites."""

    map_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Fixed:
    """A constant, ready as JSON text."""

    json: str
    place: CitedMark


@dataclass(frozen=True, slots=True)
class Leaf:
    """One expression; `weak` where it does not keep its element alive."""

    expr: Expr
    weak: bool
    place: CitedMark


@dataclass(frozen=True, slots=True)
class ObjectNode:
    """A JSON object: members in the order in which they are written."""

    members: tuple[tuple[str, Node], ...]
    place: CitedMark


@dataclass(frozen=True, slots=True)
class ListNode:
    """A JSON list."""

    entries: tuple[Entry, ...]
    place: CitedMark


@dataclass(frozen=True, slots=True)
class Spliced:
    """Entries of the list around it, written one after the other; only directly in a loop."""

    entries: tuple[Entry, ...]
    place: CitedMark


@dataclass(frozen=True, slots=True)
class Guarded:
    """A node that is there only where a condition holds."""

    condition: Condition
    node: Node
    place: CitedMark


Node: TypeAlias = Fixed | Leaf | ObjectNode | ListNode | Spliced | Guarded


@dataclass(frozen=True, slots=True)
class Loop:
    """List entries made of related rows, one a row.

    Attributes:
        around: level of the row for which the loop is written.
        parent: level of the row that has the related rows: `around`, or one outside it.
        level: level that the related row has inside `node`.
        relation: how to find them; a str is a list column of the parent.
        condition: rows for which it is false are passed over; True for all rows.
        node: what to write for each.
    """

    around: int
    parent: int
    level: int
    relation: Many | str
    condition: Condition
    node: Node
    place: CitedMark


Entry: TypeAlias = Node | Loop


@dataclass(frozen=True, slots=True)
class Feed:
    """One place for an answer of a crosswalk, where the word may be without one.

    Attributes:
        answer: the look-up in the crosswalk.
        use: the expression that is written, with the answer in it; or the condition on which
            something is written.
        needs: further conditions on which it is.
        vital: without the answer an element is missing that the profile requires or marks as
            must-support, or another is written for it. Else only what stands in for it counts.
    """

    answer: Translated
    use: Expr | Condition
    needs: tuple[Condition, ...]
    vital: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """One compiled mapping.

    Attributes:
        name: the mapping's name (file name without its ending).
        resource: FHIR type.
        profile: canonical with its version, as written into `meta.profile`.
        table: table of level 0.
        tables: table of each level, in the order of the levels.
        condition: rows for which it is false make no resource.
        id: logical id; never absent.
        compartment: logical id of the Patient that owns its block; None for the directory.
        last_updated: the source's own stamp.
        body: the members after `meta`.
        search: parameter of the search index -> list of values.
        skipped: MapID -> why this profile leaves it out.
        unfed: path of an element that the profile marks as must-support, slices included and
            without the resource -> why no row can fill it.
        assured: path -> why an element that looks as if it could be absent never is.
        feeds: places for answers of crosswalks that a known word may be without.
    """

    name: str
    resource: str
    profile: str
    table: str
    tables: tuple[str, ...]
    condition: Condition
    id: Expr
    compartment: Expr | None
    last_updated: Expr | None
    body: ObjectNode
    search: Mapping[str, ListNode]
    skipped: Mapping[int, str] = field(default_factory=dict)
    unfed: Mapping[str, str] = field(default_factory=dict)
    assured: Mapping[str, str] = field(default_factory=dict)
    feeds: tuple[Feed, ...] = ()


def nodes_of(node: Entry) -> Iterator[tuple[str, Entry]]:
    """Yield every node below one with its path; lists add `[]`, object members their name."""
    yield from _nodes(node, "")


def _nodes(node: Entry, path: str) -> Iterator[tuple[str, Entry]]:
    yield path, node
    match node:
        case ObjectNode():
            for key, member in node.members:
                yield from _nodes(member, f"{path}.{key}" if path else key)
        case ListNode():
            for entry in node.entries:
                yield from _nodes(entry, f"{path}[]")
        case Spliced():
            for entry in node.entries:
                yield from _nodes(entry, path)
        case Guarded() | Loop():
            yield from _nodes(node.node, path)
        case Fixed() | Leaf():
            return
