"""Rules over canonical rows: findings, quarantine, reconciliation, suites.

`load_rules` reads the rules, `check` one partition, `add_counts` and `reconcile` the totals,
`verdicts` the limits. Great Expectations stays behind `suites`, which nothing here imports.
"""

from etl.quality.check import REJECTED_SCHEMA, Checked, check, check_directory
from etl.quality.checks.keys_elsewhere import (
    DirectoryIds,
    KeysInMemory,
    KnownKeys,
    PublishedKeys,
    read_directory,
)
from etl.quality.rules.book import Limits, Policy, Rule, RuleBook, load_rules, read_rules
from etl.quality.rules.profile_rules import named, rules_of
from etl.quality.totals.limits import Verdict, enforce, verdicts
from etl.quality.totals.money import MoneyKey, MoneyTotals, add_money
from etl.quality.totals.rows import CountsDoNotAddUp, RowCounts, add_counts, reconcile

__all__ = [
    "REJECTED_SCHEMA",
    "Checked",
    "CountsDoNotAddUp",
    "DirectoryIds",
    "KeysInMemory",
    "KnownKeys",
    "Limits",
    "MoneyKey",
    "MoneyTotals",
    "Policy",
    "PublishedKeys",
    "RowCounts",
    "Rule",
    "RuleBook",
    "Verdict",
    "add_counts",
    "add_money",
    "check",
    "check_directory",
    "enforce",
    "load_rules",
    "named",
    "read_directory",
    "read_rules",
    "reconcile",
    "rules_of",
    "verdicts",
]
