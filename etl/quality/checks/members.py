"""Checks between members, whose rows may be in different partitions.

Each partition gives hashes of its members' cells. The run compares them once it has all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.columns.arrays import compound_keys
from etl.columns.digests import filled, hash_ids
from etl.columns.places import RowSources
from etl.model.canonical_tables import FILE_COLUMN, ROW_COLUMN
from etl.quality.checks.cells import read_types
from etl.quality.checks.duplicates import find_duplicates
from etl.quality.checks.frames import DirectoryIds, Frame, NoKeys, RuleContext, Work
from etl.quality.checks.relations import normalize_text
from etl.quality.rules.book import RuleBook
from etl.quality.rules.kinds import MembersDiffer
from etl.rows import findings_at, no_findings

_KEY: Final = "member_id"


def member_hashes(rows: pa.Table, sources: RowSources, book: RuleBook) -> pa.Table:
    """Return hashes of the cells that rules compare: a row for each member, with its place.

    A column named like a rule has the cells in which that rule's rows agree.

    Args:
        rows: the canonical rows of `member`, raw text.
        sources: the payer's rows behind them.
        book: the rules.
    """
    frame = Frame("member", rows)
    work = Work({"member": frame}, RuleContext(book, NoKeys(), DirectoryIds()))
    if frame.count:
        read_types(work, frame)
        find_duplicates(work, frame)
    cells = {_KEY: _compared_cells(frame, _KEY)}
    for rule, kind, _ in book.by_table(MembersDiffer):
        cells |= {column: _compared_cells(frame, column) for column in kind.differ}
        agreeing = compound_keys(*(_compared_cells(frame, column) for column in kind.agree))
        cells[rule.id] = pc.if_else(pa.array(work.applies(rule, frame)), agreeing, None)
    hashes = {name: pa.array(hash_ids(text), mask=~filled(text)) for name, text in cells.items()}
    files, numbers = sources.named(frame.files, frame.rows)
    places = {FILE_COLUMN: pa.array(files, pa.int32()), ROW_COLUMN: numbers}
    return pa.table(places | hashes).filter(pa.array(frame.live))


def _compared_cells(frame: Frame, column: str) -> Any:
    """Return the cells of a column so that equal values have equal text."""
    text = frame.cells(column).text
    if column == "unique_member_id":
        text = pc.coalesce(text, frame.cells(_KEY).text)
    elif column == "gender":  # `M` and `male` are the same
        text = pc.utf8_slice_codeunits(text, 0, 1)
    elif column == "deceased":  # an empty cell is published like N
        is_dead = pc.equal(pc.fill_null(text, "N"), "Y")
        is_dead = pc.or_(is_dead, frame.cells("death_date").text.is_valid())
        text = pc.if_else(is_dead, "Y", "N")
    return normalize_text(text)


def differing_members(parts: Sequence[pa.Table], book: RuleBook) -> pa.Table:
    """Return the findings about members that differ, given the hashes of all of them."""
    findings, members = [no_findings()], pa.concat_tables(parts).combine_chunks()
    for rule, kind, _ in book.by_table(MembersDiffer):
        for column in kind.differ:
            pairs = members.select([rule.id, column]).rename_columns(["key", "value"])
            if kind.or_key:
                pairs = pa.concat_tables([pairs, pairs.set_column(0, "key", members[_KEY])])
            counts = pairs.group_by("key").aggregate([("value", "count_distinct")])
            several = counts.filter(pc.greater(counts["value_count_distinct"], 1))["key"]
            is_found = pc.is_in(members[rule.id], value_set=several.drop_null())
            files, rows = members.select([FILE_COLUMN, ROW_COLUMN]).filter(is_found).columns
            findings.append(findings_at(rule.id, "member", files, rows, column))
    return pa.concat_tables(findings)
