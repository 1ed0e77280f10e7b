"""Differences between releases, actual or planned, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import click

from etl.cli.result_tables import (
    counts_json,
    print_table,
    rejected_json,
    show_counts,
    show_rejected,
)
from etl.pipeline.run import Planned
from etl.publish.change_counts import Changes
from etl.quality import enforce

_MAIN: Final = ("submitted", "eligible", "benefit", "memberliability")
"""Amounts of the claim itself that fit on a line; JSON has all of them."""


def show_changes(changes: Changes, money: Mapping[str, Mapping[str, str]] | None) -> None:
    """Print what became of members and resources, and which sums moved."""
    rows = [("members", changes.patients), *sorted(changes.resources.items())]
    print_table(
        ("what", "added", "changed", "retracted"),
        [
            (name, f"{row.added:,}", f"{row.changed:,}", f"{row.retracted:,}")
            for name, row in rows
            if row.touched or name == "members"
        ],
    )
    if money is None:
        click.echo("money: one of the releases states no totals")
    elif money:
        print_table(
            ("money of claims", *_MAIN),
            [
                (
                    claim_type,
                    *(_amount(amounts.get(f"claim.{category}", "0.00")) for category in _MAIN),
                )
                for claim_type, amounts in sorted(money.items())
            ],
        )
        click.echo("--json tells the other amounts, and those of lines")
    else:
        click.echo("money: no sum differs")


def changes_text(changes: Changes) -> str:
    """Return what became of members and resources, on one line."""
    rows = [("members", changes.patients), *sorted(changes.resources.items())]
    return "; ".join(
        f"{name} {row.added} added, {row.changed} changed, {row.retracted} retracted"
        for name, row in rows
        if row.touched or name == "members"
    )


def changes_json(
    changes: Changes, money: Mapping[str, Mapping[str, str]] | None
) -> dict[str, object]:
    """Return the same for machines; amounts are decimal text."""
    return {
        **changes.to_json(),
        "money": None
        if money is None
        else {name: dict(amounts) for name, amounts in money.items()},
    }


def show_plan(planned: Planned, target: str, *, as_json: bool) -> None:
    """Print what a run would do.

    Raises:
        DataRejected: a limit does not hold: the run would stop.
        MappingError: ids are made with another key or payer id: the run would stop.
        StoreError: a rollback holds: the run would stop.
    """
    processed = planned.processed
    if as_json:
        body: dict[str, object] = {
            "target": target,
            "dry_run": True,
            "parent": planned.parent,
            "nothing_to_do": processed is None,
            "refusal": None if planned.refusal is None else str(planned.refusal),
            **changes_json(planned.changes, planned.money),
        }
        if processed is not None:
            body["tables"] = counts_json(processed.totals.tally.counts)
            body["limits"] = [
                {
                    "limit": verdict.limit,
                    "allowed": verdict.allowed,
                    "found": verdict.found,
                    "holds": verdict.holds,
                }
                for verdict in processed.verdicts
            ]
            body["rejected"] = rejected_json(planned.rejected)
        click.echo(json.dumps(body, indent=2))
    elif processed is None:
        click.echo(f"nothing to do: release {planned.parent} was made of the same files")
    else:
        show_counts(processed.totals.tally.counts)
        show_changes(planned.changes, planned.money)
        for verdict in processed.verdicts:
            click.echo(f"limit {'holds' if verdict.holds else 'broken'}: {verdict.sentence}")
        show_rejected(planned.rejected)
        click.echo(f"dry run: nothing was written to {target}")
    if planned.refusal is not None:
        raise planned.refusal
    if processed is not None:
        enforce(processed.verdicts)


def _amount(text: str) -> str:
    return f"{Decimal(text):+,}" if Decimal(text) else "0"
