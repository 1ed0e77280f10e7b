"""Draft an `extract.toml` with a query per canonical table for the files of a folder.

As in a draft in YAML (`etl.doctor.drafting`), uncertain columns are not read and missing ones are
null, both with a comment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from etl.doctor.drafting import (
    FileDraft,
    column_groups,
    describe_doubt,
    describe_match,
    draft_files,
    is_single,
)
from etl.doctor.examination import Examination, ExaminedColumn
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.sources.extract.tables import quoted_name

_WITH_SEQUENCE = ("claim_diagnosis", "claim_procedure", "claim_care_team", "member_address")
_DATE_FORMATS = {
    "MM/DD/YYYY": "%m/%d/%Y",
    "DD/MM/YYYY": "%d/%m/%Y",
    "DD-Mon-YYYY": "%d-%b-%Y",
    "YYYY/MM/DD": "%Y/%m/%d",
}
_QUALIFIED = {"claim_care_team": "role", "member_address": "use"}


def draft_sql(examination: Examination) -> dict[str, str]:
    """Return path -> text of a draft's files: `extract.toml`, and a query per table."""
    raws = draft_files(examination)
    queries = {
        table: "\nunion all by name\n".join(selects)
        for table in TABLES
        if (selects := [_select(raw, table) for raw in raws if _can_feed(raw, table)])
    }
    for name, table in TABLES.items():
        if table.compulsory and name not in queries and raws:
            nulls = [f"    null as {column},  -- MISSING" for column in table.required]
            lines = [
                "select",
                *nulls,
                "    _file,",
                "    _row",
                f"from {raws[0].name}",
                "where false",
            ]
            queries[name] = "\n".join(["-- MISSING: no file found", *lines])
    toml = [
        "# Drafted by `cpcds doctor`. Look for QUESTION and MISSING in the queries;",
        "# docs/layouts.md explains them, `cpcds layouts check` says what is wrong.",
        'layout = "cpcds"',
        "",
        "[files]",
        *(_file_line(raw) for raw in raws),
        "",
        "[tables]",
        *(f'{TABLES[table].file_name} = "sql/{table}.sql"' for table in queries),
    ]
    drafts = {f"sql/{table}.sql": f"{text}\n" for table, text in queries.items()}
    return {"extract.toml": "\n".join([*toml, ""]), **drafts}


def _file_line(raw: FileDraft) -> str:
    delimiter = raw.file.form.physical.delimiter
    delimiter_key = f", delimiter = {json.dumps(delimiter)}" if delimiter else ""
    return f"{raw.name} = {{ path = {json.dumps(raw.file.name)}{delimiter_key} }}"


def _can_feed(raw: FileDraft, table: str) -> bool:
    return table in raw.tables and (table == raw.tables[0] or bool(raw.columns_of(table)))


def _select(raw: FileDraft, table: str) -> str:
    """Return the SELECT of a table from a file; a union if its columns form several rows."""
    groups = [] if table == raw.tables[0] else column_groups(raw, table)
    if table != raw.tables[0] and table in _WITH_SEQUENCE and not groups:
        groups = [{}]
    repeated = "claim_line" in raw.tables and table != "claim_line" and table != "claim_adjustment"
    if len(groups) < 2 or is_single(groups):
        return "\n".join(_select_lines(raw, table, {}, 1, repeated=repeated))
    return "\nunion all by name\n".join(
        "\n".join(_select_lines(raw, table, group, number, repeated=repeated))
        for number, group in enumerate(groups, start=1)
    )


def _select_lines(
    raw: FileDraft, table: str, group: Mapping[str, ExaminedColumn], number: int, *, repeated: bool
) -> Iterator[str]:
    """Yield the lines of a SELECT; repeated rows are merged unless they differ."""
    columns = group or {
        one.element.partition(".")[2].partition("[")[0]: one for one in raw.columns_of(table)
    }
    values = {
        name: (_select_expression(one), describe_match(one).partition("; QUESTION: dates are ")[0])
        for name, one in columns.items()
    }
    for role, header in raw.ids.items():
        if TABLES[table].column(f"{role}_id"):
            values.setdefault(f"{role}_id", (quoted_name(header), "its key"))
    qualifier = next(
        (one.match.element.qualifier for one in group.values() if one.match.element), ""
    )
    if qualifier:
        values[_QUALIFIED.get(table, "type")] = (f"'{qualifier}'", "by its header")
    if table != raw.tables[0] and table in _WITH_SEQUENCE:
        values["sequence"] = (str(number), "by its place")
    for name in TABLES[table].required:
        values.setdefault(name, ("null", "MISSING: no column found"))
    yield f"-- {raw.file.name}: {raw.file.kind}"
    yield "select"
    for name, (value, why) in values.items():
        yield f"    {value} as {name},  -- {why}"
    for column in raw.columns if table == raw.tables[0] else ():
        if not column.element:
            yield f"    -- {quoted_name(column.header)}: {describe_doubt(column)}"
    yield "    min_by(_file, _row) as _file," if repeated else "    _file,"
    yield "    min(_row) as _row" if repeated else "    _row"
    yield f"from {raw.name}"
    code = {"claim_care_team": "provider_id"}.get(table, "code")
    if table in _WITH_SEQUENCE and table != raw.tables[0] and code in columns:
        yield f"where {quoted_name(columns[code].header)} is not null"
    if repeated:
        yield "group by all  -- rows that differ stay apart, and the checks reject their claim"


def _select_expression(column: ExaminedColumn) -> str:
    """Return the SQL that reads a column; dates of a known format become YYYY-MM-DD.

    Other dates are left unchanged, and the checks report them.
    """
    name = quoted_name(column.header)
    for text in column.profile.absent_dates:
        name = f"nullif({name}, '{text}')"
    form = _DATE_FORMATS.get(column.profile.date)
    if not form or column.profile.ambiguous_date:
        return name
    return f"coalesce(try_strptime({name}, '{form}')::date::varchar, {name})"
