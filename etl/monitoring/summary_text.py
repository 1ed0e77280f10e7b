"""A run in a few lines for a mail or a chat: counts, no member's data."""

from __future__ import annotations

from etl.pipeline.run_record import RunRecord
from etl.reports.summary import counted

_MOST_CAUSES = 3


def title_of(record: RunRecord) -> str:
    """Return the run in a line."""
    return f"cpcds run {record.verdict}: {record.start.target}"


def summary_lines(record: RunRecord) -> list[str]:
    """Return the result of the run, a sentence a line."""
    lines = [f"Run {record.start.run}: {record.verdict} after {record.seconds:,.0f} s."]
    totals = record.totals
    if totals is not None:
        lines.append(
            f"Claims: {totals.claims:,} came in, {totals.rejected_claims:,} were rejected; "
            f"rows rejected: {totals.rejected_rows:,}."
        )
        if totals.causes:
            worst = [f"{rule} ({counted(claims, 'claim')})" for rule, claims, _ in totals.causes]
            lines.append(f"First causes: {', '.join(worst[:_MOST_CAUSES])}.")
        proof = "all add up" if totals.adds_up else "not all add up"
        lines.append(f"Money: {counted(totals.sums, 'sum')}, {proof}.")
        lines += [f"Limit broken: {each}" for each in totals.broken_limits]
    if record.changes is not None:
        members = record.changes["patients"]
        lines.append(
            f"Members: {members['added']:,} added, {members['changed']:,} changed, "
            f"{members['retracted']:,} retracted."
        )
    if record.release is not None:
        lines.append(f"Readers see release {record.release}.")
    if record.error and not (totals and totals.broken_limits):
        lines.append(f"Error: {record.error}")
    if record.report is not None:
        lines.append(f"Report: {record.start.target.rstrip('/')}/{record.report}")
    return lines
