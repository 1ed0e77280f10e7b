"""Unmapped values of a run: words without a code, and providers missing from the directory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import Bools, Indices, true_where, valid
from etl.engine.evaluate import Values, all_of, any_of, negate
from etl.mapping import expressions as ex
from etl.mapping.expressions import Condition, IsPresent, walk
from etl.mapping.plan import AnswerUse, Loop, nodes_of
from etl.mapping.row_columns import COPIED_CELLS, LIST_ITEM
from etl.model.canonical_tables import TABLES
from etl.model.code_shapes import SHAPES
from etl.model.crosswalks import is_of_displays
from etl.model.logic import AllOf, AnyOf
from etl.model.relations import One, relations_of
from etl.rows import no_findings, once_each

UNMAPPED: Final = "unmapped-word"
"""Rule of a cell for which a crosswalk has no line."""
WITHOUT_CODE: Final = "word-without-code"
"""Rule of a cell with a word that a crosswalk has, but without the code that an element needs."""
MISSHAPEN: Final = "misshapen-identifier"
"""Rule of a cell that is left out because it lacks the shape that its system requires."""


MOST_WORDS: Final = 500
"""Columns with more unknown words per partition are taken for free text, not codes."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A directory resource that rows name.

    Attributes:
        resource: `Organization` or `Practitioner`.
        key: its business key.
        payer: it is named as a payer.
    """

    resource: Literal["Organization", "Practitioner"]
    key: str
    payer: bool


def mentions(values: Values) -> frozenset[Mention]:
    """Return the directory resources that a plan's rows name, used or not."""
    return frozenset(
        mention_of(key)
        for named, level, mention_of in _find_mentions(values)
        for key in values.text(named, level).unique().drop_null().to_pylist()
    )


def _find_mentions(values: Values) -> Iterator[tuple[ex.Expr, int, Callable[[str], Mention]]]:
    """Yield expressions that name directory resources, with their key-to-mention functions."""
    for expr, level in values.evaluated():
        match expr:
            case ex.LogicalId(operand=key, resource=("Organization" | "Practitioner") as resource):
                payer = any(column.column == "payer_id" for column in _source_columns(key))
                yield key, level, partial(Mention, resource, payer=payer)
            case ex.ProviderReference(operand=key):
                yield key, level, partial(_mention_provider, values, expr)
            case _:
                continue


def _mention_provider(values: Values, expr: ex.ProviderReference, key: str) -> Mention:
    provider = values.environment.provider(key, expr.resource, only=expr.only)
    return Mention(provider.resource, provider.key, payer=False)


def findings(values: Values) -> dict[str, pa.Table]:
    """Find the cells that have no code in a crosswalk or the wrong shape.

    Returns:
        Name of the crosswalk or shape -> its findings (`etl.rows.FINDINGS_SCHEMA`), one a cell
        however often the plan read it; names without findings are left out. The name of a crosswalk
        is followed by `#` and a keyed hash of the word, so that words can be distinguished without
        being shown; the hash is left out where a column has too many words. Known words without a
        code are all under the name of their rule, `WITHOUT_CODE`.
    """
    by_rule: dict[str, list[pa.Table]] = {}
    for expr, level in values.evaluated():
        is_known: Callable[[str], bool]
        match expr:
            case ex.Translation(operand=operand, crosswalk=name) if not is_of_displays(name):
                is_known, rule = values.environment.crosswalks[name].knows, UNMAPPED
            case ex.ShapedText(operand=operand, shape=name):
                is_known, rule = SHAPES[name], MISSHAPEN
            case _:
                continue
        for column in _source_columns(operand):
            texts = values.text(column, level)
            encoded = texts.dictionary_encode()
            words = encoded.dictionary.to_pylist()
            unknown = [index for index, text in enumerate(words) if not is_known(text)]
            if not unknown:
                continue
            codes = np.asarray(pc.fill_null(encoded.indices, -1))
            if rule != UNMAPPED or len(unknown) > MOST_WORDS:
                groups = [(name, np.flatnonzero(np.isin(codes, unknown)))]
            else:
                key = values.environment.id_key
                groups = [
                    (f"{name}#{_hash_word(words[index], key)}", np.flatnonzero(codes == index))
                    for index in unknown
                ]
            for group, rows in groups:
                by_rule.setdefault(group, []).append(
                    _cell_findings(values, column, level, rows, rule)
                )
    for use in values.plan.answer_uses:
        by_rule.setdefault(WITHOUT_CODE, []).extend(_cells_without_code(values, use))
    return {name: once_each(tables) for name, tables in by_rule.items() if tables}


def _cells_without_code(values: Values, use: AnswerUse) -> Iterator[pa.Table]:
    """Yield cells whose word lacks a needed code."""
    answer, crosswalk = use.answer, values.environment.crosswalks[use.answer.crosswalk]
    level = max(values.own_level(part) for part in (answer, use.user, *use.conditions))
    if level not in values.levels or not values.levels[level].size:
        return
    texts = values.text(answer.operand, level)
    words = [
        word
        for word in pc.unique(texts.drop_null()).to_pylist()
        if crosswalk.knows(word) and crosswalk.answer(word, answer.column) is None
    ]
    if not words:
        return
    needs_code = all_of(
        _is_needed(values, use, level),
        *(values.holds(condition, level) for condition in use.conditions),
    )
    for column in _source_columns(answer.operand):
        lacks_code = pc.is_in(values.text(column, level), value_set=pa.array(words, pa.string()))
        is_affected = all_of(needs_code, np.asarray(lacks_code))
        rows = np.flatnonzero(np.broadcast_to(np.asarray(is_affected), values.levels[level].size))
        positions = rows if column.level == level else values.outer_rows(level, column.level)[rows]
        yield _cell_findings(values, column, column.level, np.unique(positions), WITHOUT_CODE)


def _is_needed(values: Values, use: AnswerUse, level: int) -> Bools | bool:
    """Return the rows in which a missing code leaves a gap."""
    if isinstance(use.user, ex.Condition):
        return negate(values.holds(use.user, level))
    has_value = valid(values.text(use.user, level))
    is_read = _is_looked_up(values, use.user, use.answer, level)
    return is_read if use.is_required else all_of(is_read, has_value)


def _is_looked_up(
    values: Values, expr: ex.Expr, answer: ex.Translation, level: int
) -> Bools | bool:
    """Return the rows in which an expression looks up a word in the crosswalk."""
    match expr:
        case ex.Translation():
            return expr == answer
        case ex.FirstOf(parts=parts):
            is_read: Bools | bool = False
            has_earlier: Bools | bool = False
            for part in parts:
                part_reads = _is_looked_up(values, part, answer, level)
                is_read = any_of(is_read, all_of(part_reads, negate(has_earlier)))
                has_earlier = any_of(has_earlier, valid(values.text(part, level)))
            return is_read
        case ex.Concat(parts=parts):
            return any_of(*(_is_looked_up(values, part, answer, level) for part in parts))
        case ex.Choice(condition=condition, then=then, otherwise=otherwise):
            is_true = values.holds(condition, level)
            return any_of(
                all_of(is_true, _is_looked_up(values, then, answer, level)),
                all_of(negate(is_true), _is_looked_up(values, otherwise, answer, level)),
            )
        case ex.Constant() | ex.Absent() | ex.ColumnOf() | ex.LoopIndex():
            return False
        case _:
            return _is_looked_up(values, expr.operand, answer, level)


def _hash_word(word: str, key: bytes) -> str:
    """Hash a word; words that a crosswalk treats as equal have equal hashes."""
    return blake2b(word.strip().casefold().encode(), digest_size=6, key=key).hexdigest()


def _source_columns(expr: ex.Expr) -> Iterator[ex.ColumnOf]:
    """Yield the columns whose text an expression passes on, apart from its case."""
    match expr:
        case ex.ColumnOf(kind=ex.Kind.LIST):
            return  # its values are looked up one by one elsewhere
        case ex.ColumnOf():
            yield expr
        case ex.Cast(operand=operand) | ex.CaseChange(operand=operand):
            yield from _source_columns(operand)
        case ex.FirstOf(parts=parts):
            for part in parts:
                yield from _source_columns(part)
        case _:
            return


def _cell_findings(
    values: Values, column: ex.ColumnOf, level_number: int, rows: Indices, rule: str
) -> pa.Table:
    """Return findings about the cells of a column in some rows of a level."""
    level = values.levels[level_number]
    if level.table == LIST_ITEM:
        owner, name = level.list_column
        list_column = ex.ColumnOf(owner, (), name, ex.Kind.LIST, nullable=True)
        return _cell_findings(
            values,
            list_column,
            owner,
            np.unique(values.outer_rows(level_number, owner)[rows]),
            rule,
        )
    table, positions = level.table, rows if level.rows is None else level.rows[rows]
    for step in column.via:
        relation = relations_of(table)[step]
        if not isinstance(relation, One):
            raise AssertionError(step)
        positions = values.partition.referenced_rows(table, relation)[positions]
        positions, table = positions[positions >= 0], relation.table
    if TABLES[table].column(column.column) is not None:
        return values.partition.findings(table, positions, rule, column.column)
    tables = [no_findings()]  # a derived column has no cell, unless it passes one on
    for name in COPIED_CELLS.get((table, column.column), ()):
        cells = values.partition.column(table, name).take(pa.array(positions))
        filled = np.asarray(cells.is_valid())
        tables.append(values.partition.findings(table, positions[filled], rule, name))
        positions = positions[~filled]
    return pa.concat_tables(tables)


def mentioning_rows(values: Values, mentions: frozenset[Mention]) -> set[tuple[int, Mention]]:
    """Return the plan's rows that name the wanted directory resources, used or not.

    Args:
        values: the values of a plan that was run.
        mentions: the resources to find; some of those that the function `mentions` returns.
    """
    keys = pa.array(sorted({mention.key for mention in mentions}), pa.string())
    pairs: set[tuple[int, Mention]] = set()
    for key_expr, level, mention_of in _find_mentions(values):
        texts = values.text(key_expr, level)
        rows = np.flatnonzero(true_where(pc.is_in(texts, value_set=keys)))
        root_rows = rows if level == 0 else values.outer_rows(level, 0)[rows]
        if values.levels[0].rows is not None:
            root_rows = values.levels[0].rows[root_rows]
        keys_of_rows = texts.take(pa.array(rows)).to_pylist()
        mentions_by_key = {key: mention_of(key) for key in set(keys_of_rows)}
        pairs |= {
            (root, mentions_by_key[key])
            for key, root in zip(keys_of_rows, root_rows.tolist(), strict=True)
            if mentions_by_key[key] in mentions
        }
    return pairs


OMITTED: Final = "incomplete-row"
"""Rule of a row that is left out of a list."""


def omitted_rows(values: Values) -> pa.Table:
    """Find rows that a loop skips because all of several values are absent.

    The loop's condition is `… and (a is present or b …)`: the row would make an entry, but the
    profile requires one of these values with it. An example is a rendering provider without a
    taxonomy code on an outpatient claim.

    Returns:
        `etl.rows.FINDINGS_SCHEMA`, each row once.
    """
    tables: list[pa.Table] = []
    for _, node in nodes_of(values.plan.body):
        if isinstance(node, Loop) and node.level in values.levels:
            level = values.levels[node.level]
            for required, other_conditions in _required_alternatives(node.condition):
                is_incomplete = all_of(
                    *(values.holds(condition, node.level) for condition in other_conditions),
                    negate(values.holds(required, node.level)),
                )
                rows = np.flatnonzero(np.broadcast_to(np.asarray(is_incomplete), level.size))
                if len(rows) and level.table in TABLES:
                    positions = rows if level.rows is None else level.rows[rows]
                    tables.append(values.partition.findings(level.table, positions, OMITTED))
    return once_each(tables)


def _required_alternatives(
    condition: Condition,
) -> Iterator[tuple[Condition, tuple[Condition, ...]]]:
    """Yield each required alternative of a loop's condition, with the other parts."""
    if isinstance(condition, AllOf):
        for part in condition.parts:
            if isinstance(part, AnyOf) and any(
                isinstance(inner_condition, IsPresent) for inner_condition in walk(part)
            ):
                yield part, tuple(other for other in condition.parts if other is not part)
