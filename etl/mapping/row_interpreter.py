"""Row-by-row interpreter of a plan: slow and obvious.

`explain` uses it, and tests compare the columnar engine with it, byte for byte. Everything is text:
a row is a mapping from column to text, None if absent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping import plan as pl
from etl.mapping.plan import Environment
from etl.model import logic
from etl.model.code_shapes import SHAPES
from etl.model.relations import Many, One, relations_of

Record: TypeAlias = Mapping[str, str | None]

_LOWER: Final = str.maketrans(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
)  # ASCII only, so that length and meaning never change
_UPPER: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Records:
    """Accepted rows of all tables, derived columns included, each table in the order of its key."""

    tables: Mapping[str, list[Record]]

    @cached_property
    def _indexes(self) -> dict[tuple[str, tuple[str, ...]], dict[tuple[str, ...], list[Record]]]:
        return {}

    def where(self, table: str, columns: tuple[str, ...], values: tuple[str, ...]) -> list[Record]:
        """Return the rows of a table with the given values, from an index."""
        index = self._indexes.get((table, columns))
        if index is None:
            index = defaultdict(list)
            for row in self.tables.get(table, ()):
                key = tuple(row.get(column) for column in columns)
                if None not in key:
                    index[key].append(row)  # type: ignore[index]
            self._indexes[table, columns] = index
        return index.get(values, [])

    def many(self, row: Record, relation: Many) -> list[Record]:
        """Return the related rows of a row."""
        *equal_columns, (own_column, list_column) = relation.on
        if not relation.listed:
            equal_columns = list(relation.on)
        values = tuple(row.get(column) for column, _ in equal_columns)
        if None in values:
            return []
        rows = self.where(
            relation.table,
            tuple(other for _, other in equal_columns),
            values,  # type: ignore[arg-type]
        )
        if not relation.listed:
            return rows
        return [
            child
            for child in rows
            if row.get(own_column) in (child.get(list_column) or "").split(";")
        ]

    def related_row(self, row: Record, relation: One) -> Record:
        """Return the row that a row refers to; an empty one if there is none."""
        key = row.get(relation.column)
        rows = self.where(relation.table, (relation.key,), (key,)) if key else []
        return rows[0] if rows else {}


@dataclass(frozen=True, slots=True)
class RenderedResource:
    """A resource made of one row.

    Attributes:
        id: its logical id.
        compartment: the Patient that owns its block; None for the directory.
        last_updated: the source's stamp.
        body: JSON text after `meta`'s stamps: `"profile":[…]},…}`.
        search: JSON object for the search index.
    """

    id: str
    compartment: str | None
    last_updated: str | None
    body: str
    search: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the input that contributed to an element.

    Attributes:
        table: canonical table, or the pseudo table of a list's values.
        column: its column, or one derived from the row's other columns and its relations.
        row: the row it stands in.
        value: its text.
    """

    table: str
    column: str
    row: Record
    value: str


@dataclass(frozen=True, slots=True)
class CrosswalkAnswer:
    """One look-up in a crosswalk that contributed to an element.

    Attributes:
        crosswalk: its name.
        column: the answer column.
        word: the word that was looked up.
        answer: what the crosswalk says; None if it has no code.
        mark: file and line of its row; None if it lacks the word.
    """

    crosswalk: str
    column: str
    word: str
    answer: str | None
    mark: str | None


@dataclass(frozen=True, slots=True)
class ExplainedElement:
    """One element of a resource that holds a value, and where it came from.

    Attributes:
        path: its place in the resource: member names, and positions in lists from 0.
        json: the value as it is written.
        mark: the line of the mapping that says so.
        cells: the cells that it was made of or that decided on it; none for a constant.
        answers: the crosswalks' answers that it was made of or that decided on it.
    """

    path: tuple[str | int, ...]
    json: str
    mark: pl.CitedMark
    cells: tuple[Cell, ...] = ()
    answers: tuple[CrosswalkAnswer, ...] = ()

    def under(self, step: str | int) -> ExplainedElement:
        """Prepend a step to the element's path."""
        return replace(self, path=(step, *self.path))


@dataclass(frozen=True, slots=True)
class _NodeOutput:
    """The output of a node for one row.

    Attributes:
        text: JSON text; None if the node is left out.
        alive: whether an inner expression has a value; None if the node has none.
        elements: the inner elements; for entries of a list, their paths start with the position.
    """

    text: str | None
    alive: bool | None
    elements: tuple[ExplainedElement, ...] = ()


@dataclass(frozen=True)
class ExplainedResource:
    """A resource with the origin of each of its elements, computed on first access.

    Attributes:
        row: the row of the plan's table that it is made of.
    """

    row: Record
    _at: _RowInterpreter

    @cached_property
    def rendered(self) -> RenderedResource:
        """The resource."""
        return self._at.made()

    @cached_property
    def elements(self) -> tuple[ExplainedElement, ...]:
        """Its elements in order; `id` and `meta` are not among them."""
        return self._at.elements()


def explain_resources(
    plan: pl.Plan, records: Records, environment: Environment, logical_id: str | None = None
) -> Iterator[ExplainedResource]:
    """Yield the resources of a plan, or the one with an ID, with their origins."""
    for row in records.tables.get(plan.table, ()):
        interpreter = _RowInterpreter(plan, records, environment, {0: row}, {})
        if logical_id is not None and interpreter.value(plan.id) != logical_id:
            continue
        if interpreter.holds(plan.condition):
            yield ExplainedResource(row, interpreter)


@dataclass(frozen=True, slots=True)
class _RowInterpreter:
    plan: pl.Plan
    records: Records
    environment: Environment
    rows: Mapping[int, Record]
    indexes: Mapping[int, int]

    def elements(self) -> tuple[ExplainedElement, ...]:
        return tuple(
            element.under(key)
            for key, member in self.plan.body.members
            for element in self.write(member).elements
        )

    def made(self) -> RenderedResource:
        plan = self.plan
        logical_id = self.value(plan.id)
        if logical_id is None:
            raise AssertionError(f"{plan.name}: a compulsory cell is empty")
        members = [(key, self.write(member).text) for key, member in plan.body.members]
        rest = "".join(f",{_json(key)}:{text}" for key, text in members if text is not None)
        search = [(name, self.write(plan.search[name]).text) for name in sorted(plan.search)]
        parameters = ",".join(f"{_json(name)}:{text}" for name, text in search if text is not None)
        return RenderedResource(
            id=logical_id,
            compartment=None if plan.compartment is None else self.value(plan.compartment),
            last_updated=None if plan.last_updated is None else self.value(plan.last_updated),
            body=f'"profile":[{_json(plan.profile)}]}}{rest}}}',
            search=f"{{{parameters}}}",
        )

    def write(self, node: pl.Entry) -> _NodeOutput:
        match node:
            case pl.JsonConstant():
                return _NodeOutput(node.json, None, (ExplainedElement((), node.json, node.mark),))
            case pl.Leaf():
                return self.write_leaf(node)
            case pl.Guard():
                if not self.holds(node.condition):
                    return _NodeOutput(None, alive=False)
                output = self.write(node.node)
                return replace(output, alive=output.text is not None)
            case pl.ObjectNode():
                return self.write_object(node)
            case pl.ListNode():
                entries = self.write_entries(node)
                text = None if entries.text is None else f"[{entries.text}]"
                return replace(entries, text=text)
            case pl.Splice():
                return self.write_entries(node)
            case pl.Loop():
                raise AssertionError("a loop stands in a list")

    def write_leaf(self, leaf: pl.Leaf) -> _NodeOutput:
        value = self.value(leaf.expr)
        if value is None:
            return _NodeOutput(None, None if leaf.weak else False)
        text = _json_leaf(value, leaf.expr.kind)
        active_nodes = tuple(self.active_nodes(leaf.expr))
        cells = tuple(cell for node in active_nodes for cell in self.cell(node))
        answers = tuple(answer for node in active_nodes for answer in self.crosswalk_answers(node))
        element = ExplainedElement((), text, leaf.mark, cells, answers)
        return _NodeOutput(text, None if leaf.weak else True, (element,))

    def write_object(self, node: pl.ObjectNode) -> _NodeOutput:
        written = [(key, self.write(member)) for key, member in node.members]
        alive = _any_alive(member for _, member in written)
        texts = [f"{_json(key)}:{to.text}" for key, to in written if to.text is not None]
        if alive is False or not texts:
            return _NodeOutput(None, alive)
        elements = tuple(each.under(key) for key, to in written for each in to.elements)
        return _NodeOutput(f"{{{','.join(texts)}}}", alive, elements)

    def write_entries(self, node: pl.ListNode | pl.Splice) -> _NodeOutput:
        written: list[_NodeOutput] = []
        elements: list[ExplainedElement] = []
        position = 0
        for list_entry in node.entries:
            for entry, is_list in self.entries(list_entry):
                written.append(entry)
                if entry.text is None:
                    continue
                if is_list:  # its elements' paths start with positions of their own
                    placed_elements = [_shift_position(each, position) for each in entry.elements]
                    position = 1 + max(int(each.path[0]) for each in placed_elements)
                else:
                    placed_elements = [each.under(position) for each in entry.elements]
                    position += 1
                elements += placed_elements
        texts = [entry.text for entry in written if entry.text is not None]
        return _NodeOutput(",".join(texts) or None, _any_alive(written), tuple(elements))

    def entries(self, entry: pl.Entry) -> list[tuple[_NodeOutput, bool]]:
        """Return the outputs of a list entry, each with whether it is itself a list."""
        if not isinstance(entry, pl.Loop):
            return [(self.write(entry), _splices(entry))]
        written: list[tuple[_NodeOutput, bool]] = []
        index = 0
        for row in self.related(entry):
            row_interpreter = self.enter_row(entry.level, row, index + 1)
            if not row_interpreter.holds(entry.condition):
                continue
            index += 1
            output = row_interpreter.write(entry.node)
            if output.text is not None:
                written.append((replace(output, alive=True), _splices(entry.node)))
        return written or [(_NodeOutput(None, alive=False), False)]

    def related(self, loop: pl.Loop) -> list[Record]:
        row = self.rows[loop.parent]
        if isinstance(loop.relation, Many):
            return self.records.many(row, loop.relation)
        values = (row.get(loop.relation) or "").split(";")
        return [{**row, "value": value} for value in values if value]

    def enter_row(self, level: int, row: Record, index: int) -> _RowInterpreter:
        return _RowInterpreter(
            self.plan,
            self.records,
            self.environment,
            {**self.rows, level: row},
            {**self.indexes, level: index},
        )

    def value(self, expr: ex.Expr) -> str | None:
        match expr:
            case ex.Constant():
                return expr.value
            case ex.Absent():
                return None
            case ex.ColumnOf():
                return self.referenced_row(expr)[0].get(expr.column)
            case ex.LoopIndex():
                return str(self.indexes[expr.level])
            case ex.Concat():
                parts = [self.value(part) for part in expr.parts]
                return None if None in parts else "".join(parts)  # type: ignore[arg-type]
            case ex.FirstOf():
                return next(
                    (value for part in expr.parts if (value := self.value(part)) is not None), None
                )
            case ex.Choice():
                return self.value(expr.then if self.holds(expr.condition) else expr.otherwise)
            case _:
                value = self.value(expr.operand)
                return None if value is None else self.convert(expr, value)

    def convert(self, expr: Any, value: str) -> str | None:
        match expr:
            case ex.Cast(kind=ex.Kind.INSTANT):
                return value if "T" in value else f"{value}T00:00:00Z"
            case ex.Cast(kind=ex.Kind.BOOLEAN, operand=operand) if operand.kind is ex.Kind.FLAG:
                return "true" if value == "Y" else "false"
            case ex.Cast():
                return value
            case ex.CaseChange(case=case):
                return value.translate(_LOWER if case == "lower" else _UPPER)
            case ex.Plus(amount=amount):
                return str(int(value) + amount)
            case ex.Translation(crosswalk=name, column=column):
                return self.environment.crosswalks[name].answer(value, column)
            case ex.ListTranslation(crosswalk=name, column=column, separator=separator):
                crosswalk = self.environment.crosswalks[name]
                values = value.split(";")
                return separator.join(crosswalk.answer(word, column) or word for word in values)
            case ex.ShapedText(shape=shape):
                return value if SHAPES[shape](value) else None
            case ex.Prefix(length=length):
                return value[:length]
            case ex.LogicalId(resource=resource):
                return self.environment.logical_id(resource, value)
            case ex.ProviderReference(resource=resource, only=only):
                provider = self.environment.provider(value, resource, only=only)
                logical_id = self.environment.logical_id(provider.resource, provider.key)
                return f"{provider.resource}/{logical_id}"
            case _:
                raise AssertionError(expr)

    def active_nodes(self, node: ex.Expr | ex.Condition) -> Iterator[ex.Expr | ex.Condition]:
        """Yield a node and its inner nodes, with only the chosen one of alternatives."""
        yield node
        parts: Sequence[ex.Expr | ex.Condition]
        match node:
            case ex.FirstOf():
                parts = [one for one in node.parts if self.value(one) is not None][:1]
            case ex.Choice():
                chosen = node.then if self.holds(node.condition) else node.otherwise
                parts = [node.condition, chosen]
            case _:
                parts = ex.parts_of(node)
        for part in parts:
            yield from self.active_nodes(part)

    def cell(self, node: ex.Expr | ex.Condition) -> Iterator[Cell]:
        """Yield the cell of a column."""
        if isinstance(node, ex.ColumnOf):
            row, table = self.referenced_row(node)
            value = row.get(node.column)
            if value is not None:
                yield Cell(table, node.column, row, value)

    def crosswalk_answers(self, node: ex.Expr | ex.Condition) -> Iterator[CrosswalkAnswer]:
        """Yield a translation's look-ups in its crosswalk."""
        if not isinstance(node, ex.Translation | ex.ListTranslation):
            return
        value, crosswalk = self.value(node.operand), self.environment.crosswalks[node.crosswalk]
        words = [] if value is None else [value]
        if value is not None and isinstance(node, ex.ListTranslation):
            words = value.split(";")
        for word in words:
            answer = crosswalk.answer(word, node.column)
            mark = crosswalk.marks.get(word.strip().lower())
            yield CrosswalkAnswer(crosswalk.name, node.column, word, answer, mark)

    def referenced_row(self, expr: ex.ColumnOf) -> tuple[Record, str]:
        row, table = self.rows[expr.level], self.plan.tables[expr.level]
        for step in expr.via:
            relation = relations_of(table)[step]
            if not isinstance(relation, One):
                raise AssertionError(step)
            row, table = self.records.related_row(row, relation), relation.table
        return row, table

    def holds(self, condition: ex.Condition) -> bool:
        match condition:
            case bool():
                return condition
            case ex.IsPresent():
                return self.value(condition.operand) is not None
            case ex.OneOf():
                value = self.value(condition.operand)
                return value is not None and (value in condition.values) != condition.negated
            case ex.Equality():
                left, right = self.value(condition.left), self.value(condition.right)
                are_present = left is not None and right is not None
                return are_present and (left == right) != condition.negated
            case ex.DateOrder():
                left, right = self.value(condition.left), self.value(condition.right)
                if left is None or right is None:
                    return False
                return left <= right if condition.or_same else left < right
            case logic.AllOf():
                return all(self.holds(part) for part in condition.parts)
            case logic.AnyOf():
                return any(self.holds(part) for part in condition.parts)
            case logic.Not():
                return not self.holds(condition.operand)


def _splices(node: pl.Entry) -> bool:
    return isinstance(node, pl.Splice) or (isinstance(node, pl.Guard) and _splices(node.node))


def _shift_position(element: ExplainedElement, offset: int) -> ExplainedElement:
    position, *inner_path = element.path
    return replace(element, path=(int(position) + offset, *inner_path))


def _any_alive(written: Iterable[_NodeOutput]) -> bool | None:
    conditions = [part.alive for part in written if part.alive is not None]
    return any(conditions) if conditions else None


def _json_leaf(value: str, kind: ex.Kind) -> str:
    return _json(value) if kind.json == "string" else value


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
