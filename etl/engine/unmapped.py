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
from etl.engine.evaluate import Values, both, either, opposite
from etl.mapping import expressions as ex
from etl.mapping.expressions import Condition, IsPresent, walk
from etl.mapping.plan import Feed, Loop, nodes_of
from etl.mapping.rows import LIST_ITEM, PASSED_ON
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
"""Most words of one column of a partition that are distinguished; with more, it holds no codes."""


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
    """Return the directory resources that the rows of a plan name, used or not."""
    return frozenset(
        mention_of(key)
        for named, level, mention_of in _mentioning(values)
        for key in values.text(named, level).unique().drop_null().to_pylist()
    )


def _mentioning(values: Values) -> Iterator[tuple[ex.Expr, int, Callable[[str], Mention]]]:
    """Yield the expressions that name directory resources, with the mention that each key is."""
    for expr, level in values.evaluated():
        match expr:
            case ex.LogicalId(of=of, resource=("Organization" | "Practitioner") as resource):
                payer = any(column.column == "payer_id" for column in _columns(of))
                yield of, level, partial(Mention, resource, payer=payer)
            case ex.ProviderReference(of=of):
                yield of, level, partial(_provider, values, expr)
            case _:
                continue


def _provider(values: Values, expr: ex.ProviderReference, key: str) -> Mention:
    provider = values.environment.provider(key, expr.resource, only=expr.only)
    return Mention(provider.resource, provider.key, payer=False)


def findings(values: Values) -> dict[str, pa.Table]:
    """Return the cells that a plan read and found no code for.

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
            case ex.Translated(of=of, crosswalk=name) if not is_of_displays(name):
                is_known, rule = values.environment.crosswalks[name].knows, UNMAPPED
            case ex.Shaped(of=of, shape=name):
                is_known, rule = SHAPES[name], MISSHAPEN
            case _:
                continue
        for column in _columns(of):
            texts = values.text(column, level)
            encoded = texts.dictionary_encode()
            words = encoded.dictionary.to_pylist()
            odd = [index for index, text in enumerate(words) if not is_known(text)]
            if not odd:
                continue
            codes = np.asarray(pc.fill_null(encoded.indices, -1))
            if rule != UNMAPPED or len(odd) > MOST_WORDS:
                groups = [(name, np.flatnonzero(np.isin(codes, odd)))]
            else:
                key = values.environment.id_key
                groups = [
                    (f"{name}#{_token(words[index], key)}", np.flatnonzero(codes == index))
                    for index in odd
                ]
            for group, rows in groups:
                by_rule.setdefault(group, []).append(_places(values, column, level, rows, rule))
    for feed in values.plan.feeds:
        by_rule.setdefault(WITHOUT_CODE, []).extend(_without_code(values, feed))
    return {name: once_each(tables) for name, tables in by_rule.items() if tables}


def _without_code(values: Values, feed: Feed) -> Iterator[pa.Table]:
    """Yield the cells with a word that lacks the code of a feed, where the code is missed."""
    answer, crosswalk = feed.answer, values.environment.crosswalks[feed.answer.crosswalk]
    level = max(values.home(part) for part in (answer, feed.use, *feed.needs))
    if level not in values.levels or not values.levels[level].size:
        return
    texts = values.text(answer.of, level)
    words = [
        word
        for word in pc.unique(texts.drop_null()).to_pylist()
        if crosswalk.knows(word) and crosswalk.answer(word, answer.column) is None
    ]
    if not words:
        return
    shows = both(_shows(values, feed, level), *(values.holds(need, level) for need in feed.needs))
    for column in _columns(answer.of):
        without = pc.is_in(values.text(column, level), value_set=pa.array(words, pa.string()))
        where = both(shows, np.asarray(without))
        rows = np.flatnonzero(np.broadcast_to(np.asarray(where), values.levels[level].size))
        positions = rows if column.level == level else values.up(level, column.level)[rows]
        yield _places(values, column, column.level, np.unique(positions), WITHOUT_CODE)


def _shows(values: Values, feed: Feed, level: int) -> Bools | bool:
    """Return the rows in which a word without a code would be missed."""
    if isinstance(feed.use, ex.Condition):
        return opposite(values.holds(feed.use, level))
    there = valid(values.text(feed.use, level))
    is_asked = _asked(values, feed.use, feed.answer, level)
    return is_asked if feed.vital else both(is_asked, there)


def _asked(values: Values, expr: ex.Expr, answer: ex.Translated, level: int) -> Bools | bool:
    """Return the rows in which an expression looks a word up in a crosswalk."""
    match expr:
        case ex.Translated():
            return expr == answer
        case ex.FirstOf(parts=parts):
            is_asked_somewhere: Bools | bool = False
            before: Bools | bool = False
            for part in parts:
                mine = _asked(values, part, answer, level)
                is_asked_somewhere = either(is_asked_somewhere, both(mine, opposite(before)))
                before = either(before, valid(values.text(part, level)))
            return is_asked_somewhere
        case ex.Joined(parts=parts):
            return either(*(_asked(values, part, answer, level) for part in parts))
        case ex.Chosen(condition=condition, then=then, otherwise=otherwise):
            holds = values.holds(condition, level)
            return either(
                both(holds, _asked(values, then, answer, level)),
                both(opposite(holds), _asked(values, otherwise, answer, level)),
            )
        case ex.Constant() | ex.Absent() | ex.ColumnOf() | ex.LoopIndex():
            return False
        case _:
            return _asked(values, expr.of, answer, level)


def _token(word: str, key: bytes) -> str:
    """Return the token of a word; words that a crosswalk treats as equal have equal tokens."""
    return blake2b(word.strip().casefold().encode(), digest_size=6, key=key).hexdigest()


def _columns(expr: ex.Expr) -> Iterator[ex.ColumnOf]:
    """Yield the columns with text that an expression passes on unchanged (or in another case)."""
    match expr:
        case ex.ColumnOf(kind=ex.Kind.LIST):
            return  # read as a whole: its values are looked up one by one elsewhere
        case ex.ColumnOf():
            yield expr
        case ex.Cast(of=of) | ex.Cased(of=of):
            yield from _columns(of)
        case ex.FirstOf(parts=parts):
            for part in parts:
                yield from _columns(part)
        case _:
            return


def _places(values: Values, column: ex.ColumnOf, at: int, rows: Indices, rule: str) -> pa.Table:
    """Return findings about the cells of a column in some rows of a level."""
    level = values.levels[at]
    if level.table == LIST_ITEM:
        owner, name = level.list_column
        listed = ex.ColumnOf(owner, (), name, ex.Kind.LIST, nullable=True)
        return _places(values, listed, owner, np.unique(values.up(at, owner)[rows]), rule)
    table, positions = level.table, rows if level.rows is None else level.rows[rows]
    for step in column.via:
        relation = relations_of(table)[step]
        if not isinstance(relation, One):
            raise AssertionError(step)
        positions = values.partition.named(table, relation)[positions]
        positions, table = positions[positions >= 0], relation.table
    if TABLES[table].column(column.column) is not None:
        return values.partition.findings(table, positions, rule, column.column)
    parts = [no_findings()]  # derived: no cell of a file, unless it passes one on
    for name in PASSED_ON.get((table, column.column), ()):
        cells = values.partition.column(table, name).take(pa.array(positions))
        filled = np.asarray(cells.is_valid())
        parts.append(values.partition.findings(table, positions[filled], rule, name))
        positions = positions[~filled]
    return pa.concat_tables(parts)


def mentioning_rows(values: Values, wanted: frozenset[Mention]) -> set[tuple[int, Mention]]:
    """Return the rows of the plan's table that name some directory resources, used or not.

    Args:
        values: of a plan that was run.
        wanted: some of the results of `mentions`.
    """
    keys = pa.array(sorted({mention.key for mention in wanted}), pa.string())
    pairs: set[tuple[int, Mention]] = set()
    for named, level, mention_of in _mentioning(values):
        texts = values.text(named, level)
        rows = np.flatnonzero(true_where(pc.is_in(texts, value_set=keys)))
        roots = rows if level == 0 else values.up(level, 0)[rows]
        if values.levels[0].rows is not None:
            roots = values.levels[0].rows[roots]
        keys_of_rows = texts.take(pa.array(rows)).to_pylist()
        meant = {key: mention_of(key) for key in set(keys_of_rows)}
        pairs |= {
            (root, meant[key])
            for key, root in zip(keys_of_rows, roots.tolist(), strict=True)
            if meant[key] in wanted
        }
    return pairs


OMITTED: Final = "incomplete-row"
"""Rule of a row that is left out of a list."""


def omitted(values: Values) -> pa.Table:
    """Return rows that a loop skips because each of several values is absent.

    A condition `… and (a is present or b …)` of a loop states that: the row would make an entry,
    and its profile requires something with it. An example is a rendering provider without a
    taxonomy code on an outpatient claim.

    Returns:
        `etl.rows.FINDINGS_SCHEMA`, each row once.
    """
    parts: list[pa.Table] = []
    for _, node in nodes_of(values.plan.body):
        if isinstance(node, Loop) and node.level in values.levels:
            level = values.levels[node.level]
            for needed, others in _needs(node.condition):
                lacking = both(
                    *(values.holds(condition, node.level) for condition in others),
                    opposite(values.holds(needed, node.level)),
                )
                rows = np.flatnonzero(np.broadcast_to(np.asarray(lacking), level.size))
                if len(rows) and level.table in TABLES:
                    positions = rows if level.rows is None else level.rows[rows]
                    parts.append(values.partition.findings(level.table, positions, OMITTED))
    return once_each(parts)


def _needs(condition: Condition) -> Iterator[tuple[Condition, tuple[Condition, ...]]]:
    """Yield each required alternative of a loop's condition, with the other parts."""
    if isinstance(condition, AllOf):
        for part in condition.parts:
            if isinstance(part, AnyOf) and any(
                isinstance(inner, IsPresent) for inner in walk(part)
            ):
                yield part, tuple(other for other in condition.parts if other is not part)
