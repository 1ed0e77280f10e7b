"""Rules over canonical rows: findings, quarantine, reconciliation, suites.

`load_rules` reads the rules, `check` one partition, `add_counts` and `reconcile` the totals,
`verdicts` the limits. Great Expectations stays behind `expectations`, which nothing here imports.
"""

from etl.quality.check import REJECTED_SCHEMA, Checked, check, check_directory
from etl.quality.counts import CountsDoNotAddUp, RowCounts, add_counts, reconcile
from etl.quality.known import DirectoryIds, KeysInMemory, KnownKeys, PublishedKeys, read_directory
from etl.quality.limits import Verdict, enforce, verdicts
from etl.quality.money_totals import MoneyKey, MoneyTotals, add_money
from etl.quality.obliged import named, rules_of
from etl.quality.rules import Limits, Policy, Rule, RuleBook, load_rules, read_rules

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
