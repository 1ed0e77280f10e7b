"""Differences between releases, actual or planned, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from etl.cli import result_tables
from etl.cli.options import print_json
from etl.pipeline.run import PlanResult
from etl.publish.kept_definitions import definitions_note
from etl.publish.manifest import ChangeCounts, Changes, ReleaseSubject
from etl.publish.reader import Release
from etl.publish.run_reports import report_of
from etl.quality.totals.limits import enforce
from etl.reports.changes import money_changes, news_since
from etl.reports.summary import limit_json, rows_by_fate

if TYPE_CHECKING:
    from etl.publish.network_changes import MovedProvider, NetworkChanges, ProviderChanges

_SHOWN: Final = 20
"""Providers of a network that are printed."""


def show_changes(
    changes: Changes, money: Sequence[Mapping[str, Any]] | None, subject: ReleaseSubject
) -> None:
    """Print the changes of members and resources, and of sums of money as reports show them."""
    for word in ("added", "changed", "retracted"):
        counts = {name: getattr(row, word) for name, row in _changed_subjects(changes, subject)}
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        click.echo(f"{word}: {listed or 'nothing'}")
    if not subject.model.has_members:
        return
    if money is None:
        click.echo("amounts: not compared, because a report is missing")
    elif money:
        result_tables.print_table(
            (f"net money ({money[0]['level']})", "before", "now", "change"),
            [
                (
                    sums["category"],
                    *(_amount_text(sums[name]) for name in ("before", "now")),
                    "no change" if sums["change"] == "0.00" else _amount_text(sums["change"], "+,"),
                )
                for sums in money
            ],
        )


def show_networks(networks: NetworkChanges) -> None:
    """Print how networks and plans of a directory changed, with some providers of each."""
    if not networks.networks and not networks.plans:
        click.echo("networks and plans: no provider joined, left, or moved")
        return
    for kind, every in (("network", networks.networks), ("plan", networks.plans)):
        result_tables.print_table(
            (kind, "added", "left", "moved"),
            [
                (
                    changes.name,
                    f"{len(changes.added):,}",
                    f"{len(changes.left):,}",
                    f"{len(changes.moved):,}",
                )
                for changes in every
            ],
        )
        for changes in every:
            lines = list(_provider_lines(changes))
            if lines:
                click.echo(f"{changes.name}:")
            for line in lines[:_SHOWN]:
                click.echo(f"  {line}")
            if len(lines) > _SHOWN:
                click.echo(f"  and {len(lines) - _SHOWN:,} more: --json has all")


def _provider_lines(changes: ProviderChanges) -> Iterator[str]:
    if changes.networks:
        yield from (f"+ network {network.name}" for network in changes.networks.added)
        yield from (f"- network {network.name}" for network in changes.networks.removed)
    for sign, moves in (("+", changes.added), ("-", changes.left), ("~", changes.moved)):
        for move in moves:
            npi = f" (NPI {move.npi})" if move.npi else ""
            yield f"{sign} {move.name}{npi}{_move_text(move, sign, of_plan=changes.is_plan)}"


def _move_text(move: MovedProvider, sign: str, *, of_plan: bool) -> str:
    old_names, new_names = (
        ", ".join(dict.fromkeys(resource.name for resource in side))
        for side in (move.before, move.after)
    )
    if sign == "~":
        return f": {old_names or 'nothing'} → {new_names or 'nothing'}"
    if of_plan:
        return f", network {old_names or new_names}"
    return f" from {old_names}" if old_names else f" to {new_names}" if new_names else ""


def changes_text(changes: Changes, subject: ReleaseSubject) -> str:
    """Return the changes of members and resources, on one line."""
    return "; ".join(
        f"{name} {row.added} added, {row.changed} changed, {row.retracted} retracted"
        for name, row in _changed_subjects(changes, subject)
    )


def _changed_subjects(
    changes: Changes, subject: ReleaseSubject
) -> Iterator[tuple[str, ChangeCounts]]:
    """Yield the members, or all resources of a directory, then each type that changed."""
    yield subject.noun, subject.changed(changes)
    yield from ((name, row) for name, row in sorted(changes.resources.items()) if row.touched)


def changes_json(
    changes: Changes,
    money: Sequence[Mapping[str, Any]] | None,
    networks: NetworkChanges | None = None,
) -> dict[str, object]:
    """Return the same for machines; amounts are decimal text. Networks are of a directory."""
    return {
        **changes.to_json(),
        **({} if networks is None else msgspec.to_builtins(networks)),
        "money": money,
    }


def show_plan(planned: PlanResult, target: str, *, as_json: bool) -> None:
    """Print what a run would do.

    Raises:
        DataRejected: a limit does not hold: the run would stop.
        MappingError: ids are made with another key or payer id: the run would stop.
        StoreError: a rollback holds: the run would stop.
    """
    processed, manifest = planned.processed, planned.manifest
    if as_json:
        body: dict[str, object] = {
            "target": target,
            "dry_run": True,
            "parent": planned.parent,
            "nothing_to_do": processed is None,
            "refusal": None if planned.refusal is None else str(planned.refusal),
            "definitions": planned.definitions or None,
            **changes_json(planned.changes, planned.money, planned.networks),
        }
        if processed is not None:
            body["tables"] = rows_by_fate(processed.totals.tally.counts)
            body["limits"] = [limit_json(verdict) for verdict in processed.verdicts]
            body["rejected"] = result_tables.rejected_json(planned.rejected)
        print_json(body)
    elif processed is None or manifest is None:
        click.echo(f"nothing to do: release {planned.parent} was made from the same files")
    else:
        result_tables.show_counts(processed.totals.tally.counts)
        show_changes(planned.changes, planned.money, manifest.subject)
        if planned.networks is not None:
            show_networks(planned.networks)
        if planned.definitions:
            click.echo(planned.definitions)
        for verdict in processed.verdicts:
            click.echo(f"limit {'holds' if verdict.holds else 'broken'}: {verdict.sentence}")
        rules = processed.totals.tally.rules(processed.definitions.book)
        result_tables.show_warnings(rules, planned.news[0] if planned.news else ())
        result_tables.show_rejected(planned.rejected)
        click.echo(f"dry run: nothing was written to {target}")
    if planned.refusal is not None:
        raise planned.refusal
    if processed is not None:
        enforce(processed.verdicts)


def plan_page(planned: PlanResult, target: str) -> str:
    """Return the page of a plan."""
    from etl.reports.changes_page import ChangesPage, changes_page

    verdicts = () if planned.processed is None else planned.processed.verdicts
    broken = [verdict.sentence for verdict in verdicts if not verdict.holds]
    refusal = [] if planned.refusal is None else [str(planned.refusal)]
    return changes_page(
        ChangesPage(
            title=f"Changes that a run would make in {target}",
            before=planned.parent,
            after=None,
            changes=planned.changes,
            money=planned.money,
            limits=verdicts,
            stops="; ".join([*refusal, *broken]),
            causes=planned.rejected.causes,
            news=planned.news,
            must_support=planned.must_support,
            samples=planned.samples,
            has_claims=planned.manifest is None or planned.manifest.subject.model.has_members,
            networks=planned.networks,
            definitions=planned.definitions,
        )
    )


def money_between(
    earlier: Release, later: Release, changes: Changes
) -> list[dict[str, Any]] | None:
    """Return the net sums of two releases as their reports show them; None if one is missing."""
    old, new = report_of(earlier), report_of(later)
    return None if old is None or new is None else money_changes(old, new, changes)


def difference_page(
    earlier: Release,
    later: Release,
    changes: Changes,
    networks: NetworkChanges | None,
) -> str:
    """Return the page of the difference of two releases, with samples of changed resources.

    Raises:
        StoreError: something of the releases is missing or damaged.
    """
    from etl.reports.changes_page import (
        ChangesPage,
        changed_samples,
        changes_page,
        moved_elements,
    )

    old, new = report_of(earlier), report_of(later)
    return changes_page(
        ChangesPage(
            title=f"Changes in {later.store.name}",
            before=earlier.id,
            after=later.id,
            changes=changes,
            money=money_between(earlier, later, changes),
            news=None if old is None or new is None else news_since(old, new),
            must_support=None if old is None or new is None else moved_elements(old, new),
            samples=changed_samples(earlier, later),
            has_claims=later.manifest.subject.model.has_members,
            networks=networks,
            definitions=definitions_note(earlier, later),
        )
    )


def _amount_text(text: str | None, form: str = ",") -> str:
    return "withheld" if text is None else format(Decimal(text), form)
