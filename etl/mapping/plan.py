"""A compiled mapping: what to write for each row, with nothing left to look up.

A plan is a tree shaped like the JSON it makes. Fragments, static tables, constants and settings
are gone; what is left is constants, expressions, conditions and loops over related rows. A mapping
set is all plans of one version of a guide, compiled for one view. What plans depend on when they
run is their environment: ids, crosswalks, the provider directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from etl.documents.yaml_text import Mark
from etl.mapping.expressions import Condition, Expr, Translation
from etl.model import logical_ids
from etl.model.crosswalks import Crosswalk
from etl.model.relations import Many


@dataclass(frozen=True, slots=True)
class CitedMark(Mark):
    """Mark of a line of a mapping, with the MapIDs that the line cites."""

    map_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class JsonConstant:
    """A constant, ready as JSON text."""

    json: str
    mark: CitedMark


@dataclass(frozen=True, slots=True)
class Leaf:
    """One expression; `weak` if it doesn't keep its element alive."""

    expr: Expr
    weak: bool
    mark: CitedMark


@dataclass(frozen=True, slots=True)
class ObjectNode:
    """A JSON object: members in the order in which they are written."""

    members: tuple[tuple[str, Node], ...]
    mark: CitedMark


@dataclass(frozen=True, slots=True)
class ListNode:
    """A JSON list."""

    entries: tuple[Entry, ...]
    mark: CitedMark


@dataclass(frozen=True, slots=True)
class Splice:
    """Several entries of the outer list; only directly in a loop."""

    entries: tuple[Entry, ...]
    mark: CitedMark


@dataclass(frozen=True, slots=True)
class Guard:
    """A node that is present only if a condition is true."""

    condition: Condition
    node: Node
    mark: CitedMark


Node: TypeAlias = JsonConstant | Leaf | ObjectNode | ListNode | Splice | Guard


@dataclass(frozen=True, slots=True)
class Loop:
    """List entries made of related rows, one a row.

    Attributes:
        around: level of the row for which the loop is written.
        parent: level of the row that has the related rows: `around`, or one outside it.
        level: level that the related row has inside `node`.
        relation: how to find them; a str is a list column of the parent.
        condition: rows for which it is false are skipped; True for all rows.
        node: what to write for each.
    """

    around: int
    parent: int
    level: int
    relation: Many | str
    condition: Condition
    node: Node
    mark: CitedMark


Entry: TypeAlias = Node | Loop


@dataclass(frozen=True, slots=True)
class AnswerUse:
    """One use of a crosswalk's answer that the crosswalk may lack.

    Attributes:
        answer: the look-up in the crosswalk.
        user: the expression that contains the answer and is written; or the condition that
            contains it and under which something is written.
        conditions: further conditions under which it is written.
        is_required: whether a missing answer always counts: an element that the profile requires
            or marks as must-support is then missing, or replaced. If not, it counts only if
            another value is written in its place.
    """

    answer: Translation
    user: Expr | Condition
    conditions: tuple[Condition, ...]
    is_required: bool


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
        id: logical ID; never absent.
        compartment: logical ID of the Patient whose block contains the resource; None for the
            directory.
        last_updated: the source's time of the last update; None if it has none.
        body: the members after `meta`.
        search: parameter of the search index -> list of values.
        skipped_map_ids: MapID -> why this profile leaves it out.
        skipped_elements: path of a must-support element, with slice names but without the resource
            -> why no row can fill it.
        assured: path -> why an element that looks as if it could be absent never is.
        answer_uses: uses of answers that a crosswalk may lack for one of its words.
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
    skipped_map_ids: Mapping[int, str] = field(default_factory=dict)
    skipped_elements: Mapping[str, str] = field(default_factory=dict)
    assured: Mapping[str, str] = field(default_factory=dict)
    answer_uses: tuple[AnswerUse, ...] = ()

    @property
    def profile_name(self) -> str:
        """The last part of the profile's canonical, without its version."""
        return self.profile.rpartition("/")[2].partition("|")[0]

    @property
    def roots(self) -> tuple[ObjectNode | ListNode, ...]:
        """The body and the values of all search parameters."""
        return (self.body, *self.search.values())

    def expressions(self) -> Iterator[tuple[CitedMark, Expr | Condition]]:
        """Yield every expression and condition of the plan, with its line."""
        for part in (self.id, self.compartment, self.last_updated, self.condition):
            if part is not None:
                yield self.body.mark, part
        for root in self.roots:
            yield from expressions_of(root)


def nodes_of(node: Entry, path: str = "") -> Iterator[tuple[str, Entry]]:
    """Yield a node and every node inside it with its path.

    Lists add `[]` to the path, members of objects their name.
    """
    yield path, node
    match node:
        case ObjectNode():
            for key, member in node.members:
                yield from nodes_of(member, f"{path}.{key}" if path else key)
        case ListNode():
            for entry in node.entries:
                yield from nodes_of(entry, f"{path}[]")
        case Splice():
            for entry in node.entries:
                yield from nodes_of(entry, path)
        case Guard() | Loop():
            yield from nodes_of(node.node, path)
        case JsonConstant() | Leaf():
            return


def expressions_of(node: Entry) -> Iterator[tuple[CitedMark, Expr | Condition]]:
    """Yield every expression and condition of a node and the nodes inside it, with its line."""
    for _, inner in nodes_of(node):
        match inner:
            case Leaf(expr=expr):
                yield inner.mark, expr
            case Guard(condition=condition) | Loop(condition=condition):
                yield inner.mark, condition
            case _:
                continue


FINANCIAL: Final = "financial"
"""The view that the mappings are written for: all of it."""

MONEY: Final = "Money"
"""FHIR's type of an amount; a view without it reads no column of money either."""


@dataclass(frozen=True, slots=True)
class View:
    """The definition of a view of a set.

    Attributes:
        name: name of the view (`--view`).
        version: version of the guide; if empty, that of the set.
        profiles: bare name of a mapping's profile -> its profile in the view; other profiles are
            unchanged.
        types: FHIR types of elements that are left out.
        paths: elements that are left out, with their resource (`ExplanationOfBenefit.total`).
        column_constants: (table, column) -> value that the column is given in every row.
        skipped_map_ids: MapID -> why `profiles` leave it out.
        skipped_elements: path of an element -> why those of `profiles` that mark it leave it out.
    """

    name: str = FINANCIAL
    version: str = ""
    profiles: Mapping[str, str] = field(default_factory=dict)
    types: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    column_constants: Mapping[tuple[str, str], str] = field(default_factory=dict)
    skipped_map_ids: Mapping[int, str] = field(default_factory=dict)
    skipped_elements: Mapping[str, str] = field(default_factory=dict)

    @property
    def states_money(self) -> bool:
        """Whether any resource of the view may state an amount."""
        return MONEY not in self.types


@dataclass(frozen=True, slots=True)
class MappingSet:
    """All mappings of one version of the guide, compiled for one view.

    Attributes:
        name: name of the set.
        version: version of the guide in every `meta.profile`.
        plans: in the order of the set file.
        crosswalks: the crosswalks that the plans use, by name.
        view: the view that the plans are compiled for.
        views: names of all views of the set, the financial one first.
    """

    name: str
    version: str
    plans: tuple[Plan, ...]
    crosswalks: Mapping[str, Crosswalk]
    view: View = field(default_factory=View)
    views: tuple[str, ...] = (FINANCIAL,)


ProviderType: TypeAlias = Literal["Organization", "Practitioner"]


@dataclass(frozen=True, slots=True)
class Provider:
    """The provider directory's resource for an ID.

    Attributes:
        resource: FHIR type.
        key: its business key: organization_id or practitioner_id.
    """

    resource: ProviderType
    key: str


@dataclass(frozen=True, slots=True)
class Environment:
    """Values that are the same for every row of a run.

    Attributes:
        payer: the payer's id; part of every logical id.
        id_key: key of the hash behind logical ids, at most 64 bytes. Not printed.
        crosswalks: by name.
        providers: organization_id, practitioner_id or NPI -> the provider directory's matches.
    """

    payer: str
    id_key: bytes
    crosswalks: Mapping[str, Crosswalk]
    providers: Mapping[str, tuple[Provider, ...]]

    def __repr__(self) -> str:
        return f"Environment(payer={self.payer!r})"

    def salt(self, resource: str) -> bytes:
        """Return the prefix of a resource type's business keys before hashing."""
        return logical_ids.salt(self.payer, resource)

    def logical_id(self, resource: str, key: str) -> str:
        """Return the logical id of the resource of that type and business key."""
        return logical_ids.logical_id(self.payer, self.id_key, resource, key)

    def provider(self, key: str, resource: ProviderType, *, only: bool) -> Provider:
        """Find the provider that a claim refers to by an ID or NPI.

        Args:
            key: the ID or NPI in the claim.
            resource: the type to use if the provider directory doesn't have the key.
            only: use the type even if the provider directory has another one.
        """
        providers = self.providers.get(key, ())
        same_type = next(
            (candidate for candidate in providers if candidate.resource == resource), None
        )
        if same_type is not None:
            return same_type
        return Provider(resource, key) if only or not providers else providers[0]
