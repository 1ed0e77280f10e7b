"""The data dictionary beside the engine: the cells of one column change, and elements follow."""

import json
import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cache

import pyarrow as pa
import pytest

from etl.bootstrap.mappings import read_crosswalks, read_folder, shipped
from etl.claims.prepare import prepare_for_mapping
from etl.engine.derived_rows import with_derived_rows
from etl.engine.partition_columns import Partition
from etl.engine.render import render
from etl.mapping.dictionary import build_dictionary
from etl.mapping.library import compile_set
from etl.mapping.plan import Environment, MappingSet
from etl.mapping.row_columns import columns_of
from etl.model.canonical_tables import TABLES, FieldType
from etl.model.code_shapes import is_npi, npi_check_digit
from etl.model.data_models import DIRECTORY, FORMULARY
from etl.model.relations import Many, relations_of
from tests.e2e.commands import SAMPLES, rows_of
from tests.golden.mapping.comparing import leaves
from tests.golden.mapping.everything import everything
from tests.golden.mapping.rendering import ID_KEY, PAYER, mapping_set, providers_of, tables_of

Element = tuple[str, str]
DIRECTORY_PAYER = {**PAYER, "directory_id_system": "https://payer.example.com/directory"}


@dataclass(frozen=True)
class Mapped:
    """Rows that fill every column, and the mappings that read them."""

    mappings: MappingSet
    environment: Environment
    rows: Partition
    read_by_plan: dict[str, set] = field(default_factory=dict)

    def texts(self, changed):
        """Return the texts of every element, where the cells of some columns are others.

        Plans that read none of these columns are left out: their texts stay as they are.
        """
        found = defaultdict(list)
        for plan in self.mappings.plans:
            if changed and not changed.keys() & self.columns_read(plan):
                continue
            rows = _Changed(self.rows.tables, self.rows, changed)
            profile = _profile(plan.profile)
            for part in render(plan, rows, self.environment):
                found[profile, f"{plan.resource}.id"] += part.ids.to_pylist()
                stamps = [stamp for stamp in part.last_updated.to_pylist() if stamp]
                found[profile, f"{plan.resource}.meta.lastUpdated"] += stamps
                for body in part.bodies.to_pylist():
                    for path, text in leaves(json.loads(f'{{"meta":{{{body}'), plan.resource):
                        found[profile, path].append(text)
        return {element: sorted(texts) for element, texts in found.items() if texts}

    def columns_read(self, plan):
        """Return the columns that a plan looks at."""
        if plan.name not in self.read_by_plan:
            rows = _Changed(self.rows.tables, self.rows, {})
            list(render(plan, rows, self.environment))
            self.read_by_plan[plan.name] = rows.read
        return self.read_by_plan[plan.name]


class _Changed(Partition):
    """Rows in which the cells of some columns are others, and every other column is as it was."""

    def __init__(self, tables, unchanged, changed):
        super().__init__(tables)
        self._unchanged, self._changed = unchanged, changed
        self.read = set()

    def _load_column(self, table, name):
        self.read.add((table, name))
        column = self._unchanged.column(table, name)
        change = self._changed.get((table, name))
        if change is None:
            return column
        cells = [None if cell is None else change(cell) for cell in column.to_pylist()]
        return pa.array(cells, pa.string())


def _profile(canonical):
    return canonical.rpartition("/")[2].partition("|")[0]


@cache
def of_claims():
    rows, mappings = everything(), mapping_set()
    environment = Environment("golden", ID_KEY, mappings.crosswalks, providers_of(rows))
    return Mapped(
        mappings, environment, Partition(prepare_for_mapping(tables_of(rows), environment))
    )


@cache
def of_a_directory():
    return of_public_data(DIRECTORY)


@cache
def of_a_formulary():
    return of_public_data(FORMULARY)


def of_public_data(model):
    roots = [shipped()]
    mappings = compile_set(
        read_folder(roots, model.mappings, "*.yaml").texts,
        read_crosswalks(roots, model),
        DIRECTORY_PAYER,
        view="financial",
    )
    rows = {}
    for table in model.tables:
        path = SAMPLES / model.name / f"{model.tables[table].file_name}.csv"
        if path.is_file():
            rows[table] = [
                {name: cell for name, cell in row.items() if cell} for row in rows_of(path)
            ]
    environment = Environment("golden", ID_KEY, mappings.crosswalks, {})
    partition = with_derived_rows(tables_of(rows, model.tables), mappings.crosswalks)
    return Mapped(mappings, environment, partition)


# Cells -------------------------------------------------------------------------------------------


def _next_character(cell, steps):
    """Return a text of the same shape, in which the last letter or digit is another."""
    for at in range(len(cell) - 1, -1, -1):
        for alphabet in ("0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
            if cell[at] in alphabet:
                place = (alphabet.index(cell[at]) + steps) % len(alphabet)
                return cell[:at] + alphabet[place] + cell[at + 1 :]
    return cell + "ab"[steps % 2]


def another(kind, steps):
    """Return what makes a valid cell of a kind into another, some steps away."""
    match kind:
        case FieldType.DATE | FieldType.TIMESTAMP:
            days = timedelta(days=steps)
            return lambda cell: f"{date.fromisoformat(cell[:10]) + days}{cell[10:]}"
        case FieldType.MONEY | FieldType.DECIMAL | FieldType.INTEGER:
            return lambda cell: str(Decimal(cell) + steps)
        case FieldType.FLAG:
            return lambda _: "YN"[steps % 2]
        case _:
            return lambda cell: (
                _next_npi(cell, steps) if is_npi(cell) else _next_character(cell, steps)
            )


def _next_npi(cell, steps):
    digits = _next_character(cell[:9], steps)
    return digits + npi_check_digit(digits)


def joined():
    """Return the columns by which rows find each other: with them whole rows come and go."""
    found = set()
    for table in TABLES:
        for relation in relations_of(table).values():
            if isinstance(relation, Many):
                for mine, theirs in relation.on:
                    found |= {(table, mine), (relation.table, theirs)}
            else:
                found |= {(table, relation.column), (relation.table, relation.key)}
    return found


# What is held to the dictionary ------------------------------------------------------------------


def listed(mapped):
    found = defaultdict(dict)
    for row in build_dictionary(mapped.mappings.plans):
        if row.table:
            assert (row.profile, row.path) not in found[row.table, row.column], row
            found[row.table, row.column][row.profile, row.path] = row.role
    return found


def differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def cells_of(mapped):
    """Return the columns that make no rows come and go."""
    tables = dict.fromkeys(
        row.table for row in build_dictionary(mapped.mappings.plans) if row.table
    )
    cells = [
        ((table, name), each.type) for table in tables for name, each in columns_of(table).items()
    ]
    return [(cell, kind) for cell, kind in cells if cell not in joined()]


def followed(mapped, cell, kind, steps):
    """Return the elements whose texts are others where a column's cells are others."""
    return differing(*(mapped.texts({cell: another(kind, step)}) for step in steps))


@pytest.mark.slow
@pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("rows", [of_claims, of_a_directory, of_a_formulary])
def test_every_element_that_follows_a_column_is_listed_with_it(rows, share):
    """One column in three, others each time; or all."""
    mapped = rows()
    roles, cells = listed(mapped), cells_of(mapped)
    assert len(cells) > 50
    assert [
        (*cell, *element)
        for cell, kind in random.sample(cells, len(cells) // share)
        for element in followed(mapped, cell, kind, (1, 2))
        if not any(is_in(element, there) for there in roles.get(cell, ()))
    ] == []


@pytest.mark.parametrize("rows", [of_claims, of_a_directory, of_a_formulary])
def test_days_are_values_of_the_elements_that_follow_them_and_of_no_others(rows):
    """Where the end of a period is there may hang on its start, but its text does not."""
    mapped = rows()
    roles, there = listed(mapped), mapped.texts({})
    days = [cell for cell, kind in cells_of(mapped) if kind is FieldType.DATE]
    assert len(days) >= 6
    for cell in days:
        later = followed(mapped, cell, FieldType.DATE, (1, 2))
        earlier = followed(mapped, cell, FieldType.DATE, (-1, -2))
        values = {element for element, role in roles[cell].items() if role == "value"}
        assert values & there.keys() == (later | earlier) & there.keys(), cell


def is_in(element, other):
    """Return whether an element is another one, or below it."""
    return element[0] == other[0] and f"{element[1]}.".startswith(f"{other[1]}.")
