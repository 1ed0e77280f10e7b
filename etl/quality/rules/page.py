"""docs/rules.md, written from the rule book: no rule can be left undocumented."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from etl.model.crosswalks import read_crosswalk
from etl.model.data_models import DATA_MODELS
from etl.profiles.guides import PLAN_NET
from etl.profiles.value_set_crosswalks import value_set_crosswalks
from etl.quality.rules import directory_kinds
from etl.quality.rules.book import Policy, Rule, RuleBook, load_rules
from etl.quality.rules.kind import KINDS, Clause

_HEAD = """# Rules

What is looked for in every row, what a failure does, and what it spoils. This page is written from
`mappings/rules/*.yaml` by `python -m etl.quality.rules.page > docs/rules.md`; a test holds the two
together.

## What a failure does

| severity | |
|---|---|
| `warn` | the row is published; the report counts the finding |
| `reject-row` | the row goes to the quarantine, and what depends on it with it |
| `reject-claim` | the whole claim of the row goes to the quarantine |

Only what cannot be published truthfully is rejected: no key, nobody it belongs to, a compulsory
cell that is empty or unreadable, an amount that cannot be read, rows that contradict each other,
and what depends on a rejected row. What is merely odd is a warning: the member is to see the claim
as it was adjudicated. A rejected line rejects its claim (`line-rejected`), because the money of the
rest would not add up; with `line-rejected` set to `warn` the claim is published without the line.

A rule that **blanks** makes the failing cell absent in what is published: the value is outside a
closed list, and would break the output. A **firm** rule can be made harder, never softer.

A payer changes severities and sets limits in its configuration, by rule id. When a limit is broken
the run stops before anything is published (exit 4).

Beside these rules stand the obligations of the profiles: what the mapped resource would break is
found by column and rejected, under an id that says profile and element
(`c4bb.oral.item.sequence`), or by the key of the invariant. They are as many as the mappings make
them, are firm, and are described in [conformance.md](conformance.md#conforming-by-construction).
Those of them that have a name of their own are under `70-profiles.yaml` below.

## How cells are read

| type | read | canonical |
|---|---|---|
| date | `YYYY-MM-DD`, `YYYYMMDD`; a day of the calendar | `YYYY-MM-DD` |
| timestamp | a date, or an RFC 3339 instant with its zone | as sent |
| money | decimal with a point; leading zeros, `.50`, `12.` and further zeros are read | `12.00` |
| decimal | the same, of at most 18 digits | as sent, no leading zeros |
| integer | whole, 32 bits; `30.0` is 30 | `30` |
| flag | Y, N, yes, no, true, false, T, F, 1, 0 in any case | `Y`, `N` |
| list | values joined by `;` | no blanks around them, no empty ones |
| code, text | no control characters | as sent |

Not read, because it would be a guess: thousands marks, a decimal comma, currency signs, exponents,
`+`, brackets or a trailing minus for negative amounts, more than two fraction digits that are not
zero. ICD codes get their point, NDCs their 11 digits, codes their capitals.

## Rows with the same key

Identical rows: one stays, the others are superseded. Different rows: where all state
`last_updated` and one is the latest, it stays; else all are rejected. A claim or coverage id under
two members: all are rejected, whatever their dates. The order of rows decides nothing.
"""


def rules_page(books: Iterable[RuleBook]) -> str:
    """Return the page of some rule books; a rule that several have is listed once."""
    parts = [_HEAD, "## Kinds of checks\n\n| check | fails where | parameters |\n|---|---|---|\n"]
    # Those of directories last, whichever module was imported first.
    listed = sorted(KINDS.items(), key=lambda item: item[1].__module__ == directory_kinds.__name__)
    for name, kind in listed:
        first = (inspect.getdoc(kind) or "").split("\n")[0]
        parameters = ", ".join(
            f"`{field.name.replace('_', '-')}`" for field in dataclasses.fields(kind)
        )
        parts.append(f"| `{name}` | {first} | {parameters} |\n")
    file, seen = "", set[str]()
    for book in books:
        for rule in book.rules:
            if rule.id in seen:
                continue
            seen.add(rule.id)
            if rule.where.split(":")[0] != file:
                file = rule.where.split(":")[0]
                parts.append(f"\n## {file}\n")
            parts.append(_rule(rule, tuple(book.model.tables)))
    return "".join(parts)


def _rule(rule: Rule, every: tuple[str, ...]) -> str:
    tables = "every table" if rule.tables == every else ", ".join(rule.tables)
    marks = [f"`{rule.default.value}`", f"`{rule.check}`", tables]
    marks += ["blanks the cell"] * rule.blanks + ["firm"] * rule.firm
    lines = [f"\n### {rule.id}\n\n{' · '.join(marks)}  \n{rule.says}  \n*Spoils:* {rule.spoils}\n"]
    columns: Iterable[str] = getattr(rule.kind, "columns", ())
    if isinstance(columns, tuple) and columns:
        lines.append(f"\nColumns: {', '.join(columns)}.\n")
    for word, condition in (("Only where", rule.when), ("Not where", rule.unless)):
        if condition:
            lines.append(f"\n{word} {' and '.join(_clause(clause) for clause in condition)}.\n")
    return "".join(lines)


def _clause(clause: Clause) -> str:
    column = f"{clause.above}.{clause.column}" if clause.above else clause.column
    if not clause.words:
        return f"`{column}` is {'filled' if clause.filled else 'empty'}"
    words = ", ".join(f"`{word}`" if word else "empty" for word in sorted(clause.words))
    return f"`{column}` is {words}"


def shipped_books(mappings: Path) -> Iterator[RuleBook]:
    """Yield the rule book of each data model, of the files of `mappings/`."""
    crosswalks = dict(value_set_crosswalks(PLAN_NET, "plan-net"))
    for path in sorted((mappings / "crosswalks").glob("*.csv")):
        crosswalks[path.stem] = read_crosswalk(path.read_text("utf-8"), path.stem, file=path.name)
    rules = mappings / "rules"
    shared = {path.name: path.read_text("utf-8") for path in sorted(rules.glob("*.yaml"))}
    for model in DATA_MODELS:
        own = sorted((rules / model.rules).glob("*.yaml")) if model.rules else ()
        texts = {path.relative_to(rules).as_posix(): path.read_text("utf-8") for path in own}
        yield load_rules({**shared, **texts}, Policy(), crosswalks, model=model)


def _main() -> None:
    sys.stdout.write(rules_page(shipped_books(Path(__file__).parents[3] / "mappings")))


if __name__ == "__main__":
    _main()
