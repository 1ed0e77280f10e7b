"""A plan run one row at a time: slow and obvious.

`explain` uses it, and the tests hold the columnar engine to it, byte for byte. Everything is text:
a row is a mapping from column to text, None where absent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

from etl.mapping.environment import Environment
from etl.mapping.expressions import (
    Absent,
    AllOf,
    AnyOf,
    Before,
    Cased,
    Cast,
    Chosen,
    ColumnOf,
    Condition,
    Constant,
    Expr,
    FirstOf,
    IsPresent,
    Joined,
    Kind,
    Left,
    LogicalId,
    LoopIndex,
    Not,
    OneOf,
    Plus,
    ProviderReference,
    Same,
    Shaped,
    Translated,
    TranslatedAll,
    Truth,
)
from etl.mapping.plan import (
    Entry,
    Fixed,
    Guarded,
    Leaf,
    ListNode,
    Loop,
    ObjectNode,
    Plan,
    Spliced,
)
from etl.mapping.rows import Many, One, relations_of
from etl.model.codes import SHAPES

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
        """Return the rows of a table whose columns have those values."""
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
        """Return the rows that belong to a row."""
        *plain, (ours, theirs) = relation.on
        if not relation.listed:
            plain = list(relation.on)
        values = tuple(row.get(mine) for mine, _ in plain)
        if None in values:
            return []
        found = self.where(
            relation.table,
            tuple(other for _, other in plain),
            values,  # type: ignore[arg-type]
        )
        if not relation.listed:
            return found
        return [child for child in found if row.get(ours) in (child.get(theirs) or "").split(";")]

    def one(self, row: Record, relation: One) -> Record:
        """Return the row that a row names; a row without any cell where there is none."""
        named = row.get(relation.column)
        found = self.where(relation.table, (relation.key,), (named,)) if named else []
        return found[0] if found else {}


@dataclass(frozen=True, slots=True)
class Made:
    """A resource made of one row.

    Attributes:
        id: its logical id.
        compartment: the Patient in whose block it goes; None for the directory.
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
class _Written:
    """What a node came to.

    Attributes:
        text: JSON text; None where it vanished.
        alive: whether an expression inside is there; None where there is none to ask.
    """

    text: str | None
    alive: bool | None


def interpret(plan: Plan, records: Records, environment: Environment) -> Iterator[Made]:
    """Yield the resource of each row of the plan's table for which the plan's condition holds."""
    for row in records.tables.get(plan.table, ()):
        at = _Row(plan, records, environment, {0: row}, {})
        if plan.condition is None or at.holds(plan.condition):
            yield at.made()


@dataclass(frozen=True, slots=True)
class _Row:
    plan: Plan
    records: Records
    environment: Environment
    rows: Mapping[int, Record]
    indexes: Mapping[int, int]

    def made(self) -> Made:
        plan = self.plan
        logical_id = self.value(plan.id)
        if logical_id is None:
            raise AssertionError(f"{plan.name}: a compulsory cell is empty")
        members = [(key, self.write(member).text) for key, member in plan.body.members]
        rest = "".join(f",{_json(key)}:{text}" for key, text in members if text is not None)
        search = {
            parameter: self.write(values).text or "[]" for parameter, values in plan.search.items()
        }
        parameters = ",".join(f"{_json(name)}:{text}" for name, text in search.items())
        return Made(
            id=logical_id,
            compartment=None if plan.compartment is None else self.value(plan.compartment),
            last_updated=None if plan.last_updated is None else self.value(plan.last_updated),
            body=f'"profile":[{_json(plan.profile)}]}}{rest}}}',
            search=f"{{{parameters}}}",
        )

    def write(self, node: Entry) -> _Written:
        match node:
            case Fixed():
                return _Written(node.json, None)
            case Leaf():
                value = self.value(node.expr)
                text = None if value is None else _leaf(value, node.expr.kind)
                return _Written(text, None if node.weak else text is not None)
            case Guarded():
                if not self.holds(node.condition):
                    return _Written(None, alive=False)
                inner = self.write(node.node)
                return _Written(inner.text, inner.text is not None)
            case ObjectNode():
                return self.write_object(node)
            case ListNode():
                written = [entry for part in node.entries for entry in self.entries(part)]
                texts = [entry.text for entry in written if entry.text is not None]
                return _Written(f"[{','.join(texts)}]" if texts else None, _alive(written))
            case Spliced():
                written = [entry for part in node.entries for entry in self.entries(part)]
                texts = [entry.text for entry in written if entry.text is not None]
                return _Written(",".join(texts) or None, _alive(written))
            case Loop():
                raise AssertionError("a loop stands in a list")

    def write_object(self, node: ObjectNode) -> _Written:
        written = [(key, self.write(member)) for key, member in node.members]
        alive = _alive(member for _, member in written)
        texts = [f"{_json(key)}:{to.text}" for key, to in written if to.text is not None]
        if alive is False or not texts:
            return _Written(None, alive)
        return _Written(f"{{{','.join(texts)}}}", alive)

    def entries(self, entry: Entry) -> list[_Written]:
        if not isinstance(entry, Loop):
            return [self.write(entry)]
        written: list[_Written] = []
        index = 0
        for row in self.related(entry):
            at = self.at(entry.level, row, index + 1)
            if entry.condition is not None and not at.holds(entry.condition):
                continue
            index += 1
            made = at.write(entry.node)
            if made.text is not None:
                written.append(_Written(made.text, alive=True))
        return written or [_Written(None, alive=False)]

    def related(self, loop: Loop) -> list[Record]:
        row = self.rows[loop.parent]
        if isinstance(loop.relation, Many):
            return self.records.many(row, loop.relation)
        return [{"value": value} for value in (row.get(loop.relation) or "").split(";") if value]

    def at(self, level: int, row: Record, index: int) -> _Row:
        return _Row(
            self.plan,
            self.records,
            self.environment,
            {**self.rows, level: row},
            {**self.indexes, level: index},
        )

    def value(self, expr: Expr) -> str | None:
        match expr:
            case Constant():
                return expr.value
            case Absent():
                return None
            case ColumnOf():
                return self.column(expr)
            case LoopIndex():
                return str(self.indexes[expr.level])
            case Joined():
                parts = [self.value(part) for part in expr.parts]
                return None if None in parts else "".join(parts)  # type: ignore[arg-type]
            case FirstOf():
                return next(
                    (value for part in expr.parts if (value := self.value(part)) is not None), None
                )
            case Chosen():
                return self.value(expr.then if self.holds(expr.condition) else expr.otherwise)
            case _:
                value = self.value(expr.of)
                return None if value is None else self.changed(expr, value)

    def changed(self, expr: Any, value: str) -> str | None:
        match expr:
            case Cast(kind=Kind.INSTANT):
                return value if "T" in value else f"{value}T00:00:00Z"
            case Cast(kind=Kind.BOOLEAN, of=of) if of.kind is Kind.FLAG:
                return "true" if value == "Y" else "false"
            case Cast():
                return value
            case Cased(case=case):
                return value.translate(_LOWER if case == "lower" else _UPPER)
            case Plus(amount=amount):
                return str(int(value) + amount)
            case Translated(crosswalk=name, column=column):
                return self.environment.crosswalks[name].answer(value, column)
            case TranslatedAll(crosswalk=name, column=column, separator=separator):
                crosswalk = self.environment.crosswalks[name]
                values = value.split(";")
                return separator.join(crosswalk.answer(one, column) or one for one in values)
            case Shaped(shape=shape):
                return value if SHAPES[shape](value) else None
            case Left(length=length):
                return value[:length]
            case LogicalId(resource=resource):
                return self.environment.logical_id(resource, value)
            case ProviderReference(resource=resource, only=only):
                found = self.environment.provider(value, resource, only=only)
                return f"{found.resource}/{self.environment.logical_id(found.resource, found.key)}"
            case _:
                raise AssertionError(expr)

    def column(self, expr: ColumnOf) -> str | None:
        row, table = self.rows[expr.level], self.plan.tables[expr.level]
        for step in expr.via:
            relation = relations_of(table)[step]
            if not isinstance(relation, One):
                raise AssertionError(step)
            row, table = self.records.one(row, relation), relation.table
        return row.get(expr.column)

    def holds(self, condition: Condition) -> bool:
        match condition:
            case Truth():
                return condition.holds
            case IsPresent():
                return self.value(condition.of) is not None
            case OneOf():
                value = self.value(condition.of)
                return value is not None and (value in condition.values) != condition.negated
            case Same():
                left, right = self.value(condition.left), self.value(condition.right)
                both = left is not None and right is not None
                return both and (left == right) != condition.negated
            case Before():
                left, right = self.value(condition.left), self.value(condition.right)
                if left is None or right is None:
                    return False
                return left <= right if condition.or_same else left < right
            case AllOf():
                return all(self.holds(part) for part in condition.parts)
            case AnyOf():
                return any(self.holds(part) for part in condition.parts)
            case Not():
                return not self.holds(condition.of)


def _alive(written: Iterable[_Written]) -> bool | None:
    said = [one.alive for one in written if one.alive is not None]
    return any(said) if said else None


def _leaf(value: str, kind: Kind) -> str:
    return _json(value) if kind.json == "string" else value


def _json(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
