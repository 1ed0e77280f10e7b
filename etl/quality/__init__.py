"""Rules over canonical rows: findings, quarantine, reconciliation, suites.

`rules.book` reads the rules; `check.check_rows` and `check.check_totals` take a partition through
them, with the claims finalized in between. `totals.rows` and `totals.money` sum and check the
totals, `totals.limits` the limits. Great Expectations stays behind `suites`.
"""
