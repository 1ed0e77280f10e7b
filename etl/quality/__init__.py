"""Rules over canonical rows: findings, quarantine, reconciliation, suites.

`load_rules` reads the rules; `check_rows` and `check_totals` take a partition through them, with
what is decided in between (`check`: with no claims to settle); `add_counts` and `reconcile` sum
and check the totals, `verdicts` the limits. Great Expectations stays behind `suites`.
"""

from etl.quality.check import REJECTED_SCHEMA, Checked, check, check_rows, check_totals
from etl.quality.checks.cascade import decide_rows
from etl.quality.checks.frames import (
    DirectoryIds,
    KnownKeys,
    NoKeys,
    RuleContext,
    read_directory,
)
from etl.quality.rules.book import (
    Limits,
    Policy,
    Rule,
    RuleBook,
    load_rules,
    named,
    read_rules,
    rules_of,
)
from etl.quality.totals.limits import Verdict, enforce, verdicts
from etl.quality.totals.money import MoneyKey, MoneyTotals, add_money
from etl.quality.totals.rows import CountsDoNotAddUp, RowCounts, add_counts, reconcile

__all__ = [
    "REJECTED_SCHEMA",
    "Checked",
    "CountsDoNotAddUp",
    "DirectoryIds",
    "KnownKeys",
    "Limits",
    "MoneyKey",
    "MoneyTotals",
    "NoKeys",
    "Policy",
    "RowCounts",
    "Rule",
    "RuleBook",
    "RuleContext",
    "Verdict",
    "add_counts",
    "add_money",
    "check",
    "check_rows",
    "check_totals",
    "decide_rows",
    "enforce",
    "load_rules",
    "named",
    "read_directory",
    "read_rules",
    "reconcile",
    "rules_of",
    "verdicts",
]
