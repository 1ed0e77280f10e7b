"""One partition: rows checked, then mapped; the same in any process."""

from __future__ import annotations

from dataclasses import dataclass

from etl.pipeline.definitions import Definitions
from etl.pipeline.partition.claims import ClaimRules
from etl.pipeline.partition.mapping import Mapped, Observer, mapped, rejecting_words, with_broken
from etl.pipeline.partition.providers import Providers
from etl.quality import Checked, RuleContext, check_rows, check_totals
from etl.quality.checks.cascade import DecidedRows
from etl.quality.totals.by_member import RowOwners
from etl.sources import GlobalKeys, Loaded


@dataclass(frozen=True, slots=True)
class PartitionContext:
    """The context of a partition: the same for all of a run.

    Attributes:
        definitions: rules and mappings.
        providers: the directory.
        as_of: day of the extract, in days since 1970; None where it is not stated.
    """

    definitions: Definitions
    providers: Providers
    as_of: int | None


def check_and_map(
    context: PartitionContext,
    loaded: Loaded,
    keys: GlobalKeys,
    owners: RowOwners | None = None,
    observer: Observer | None = None,
) -> tuple[DecidedRows, Checked, Mapped]:
    """Check a partition and map what was accepted, until all resources conform to their profiles.

    Args:
        context: rules, mappings and the directory.
        loaded: the rows.
        keys: ids of all partitions.
        owners: the members of the rows, where each member's share of the totals is wanted.
        observer: records what each plan makes; None for nothing.

    Returns:
        All rows as they were decided on, the result of the rules, and the resources.
    """
    definitions, providers = context.definitions, context.providers
    rules = RuleContext(definitions.book, keys, providers.known, context.as_of)
    claim_rules = ClaimRules.of(definitions)
    rejecting = rejecting_words(definitions.book)
    findings = loaded.findings
    while True:
        claims = claim_rules.finalize(check_rows(loaded.tables, findings, rules, loaded.unread))
        checked = check_totals(claims.decided, owners)
        tables = {**checked.tables, **providers.tables}
        made = mapped(
            definitions.patient_plans,
            claims.partition(tables, providers.environment),
            providers.environment,
            definitions,
            rejecting,
            observer,
        )
        if not made.broken.num_rows:
            return claims.decided, checked, made
        # Dependents of a rejected row are rejected too: check again, as if a rule rejected it.
        findings = with_broken(findings, made.broken)
