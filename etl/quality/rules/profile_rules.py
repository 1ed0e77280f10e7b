"""Rules for what a profile requires of a resource, made of the obligations that rows can break.

The engine checks; here the findings get what every rule has: a severity, a sentence, and what a
failure spoils. They are firm: a payer may limit them, and may not let the resources through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from etl.mapping.obligations import Obligation
from etl.model.severity import Severity
from etl.quality.rules.book import Rule, RuleBook
from etl.quality.rules.kinds import Reading, Unmet

_SAYS: Final = {
    "required": "The resource would lack {path}, which {profile} requires.",
    "limit": "The resource would have more of {path} than {profile} allows.",
    "pattern": "The resource would not have at {path} what {profile} prescribes there.",
    "binding": "The code at {path} would be none of the value set to which {profile} binds it.",
    "form": "The value at {path} has not the form that FHIR asks for.",
    "code": "The code at {path} would be none of its code system.",
    "reference": "The reference at {path} leads to nothing, or to a type that {profile} forbids.",
    "invariant": "The resource would break an invariant of {profile}.",
    "guide": "The resource would break at {path} what the guide says in words.",
}
_SPOILS: Final = "The resource would not conform to its profile, so it is not published."


def rules_of(obligations: Iterable[Obligation], table: str) -> tuple[Rule, ...]:
    """Return one rule an id.

    Args:
        obligations: of one plan.
        table: the table that the plan makes resources of.
    """
    claims = table == "claim"
    severity = Severity.REJECT_CLAIM if claims else Severity.REJECT_ROW
    made: dict[str, Rule] = {}
    for obligation in obligations:
        if obligation.test is None or obligation.rule in made:
            continue
        says = _SAYS[obligation.what].format(
            path=obligation.path or "its root", profile=obligation.profile
        )
        made[obligation.rule] = Rule(
            id=obligation.rule,
            tables=(table, "claim_line") if claims else (table,),
            kind=Reading(),
            severity=severity,
            default=severity,
            blanks=False,
            firm=True,
            when=(),
            unless=(),
            says=says,
            spoils=_SPOILS,
            where=str(obligation.place),
        )
    return tuple(made.values())


def named(obligations: Iterable[Obligation], book: RuleBook) -> tuple[Obligation, ...]:
    """Return obligations under the rules that report them (`check: unmet`)."""
    speaking = [(rule.id, rule.kind) for rule in book.rules if isinstance(rule.kind, Unmet)]
    return tuple(
        replace(
            obligation,
            rule=next(
                (name for name, kind in speaking if kind.names(obligation.rule)), obligation.rule
            ),
        )
        for obligation in obligations
    )
