"""Load rules: `mappings/rules/*.yaml` and a payer's policy become an immutable rule book.

    - id: npi-check-digit
      table: [organization, practitioner]
      check: npi
      columns: [npi]
      severity: warn
      blanks: true
      says: The NPI does not have ten digits, or its check digit is wrong.
      spoils: The identifier would fail validation, so the provider is published without it.

A rule book can be pickled for worker processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from etl.documents.models import (
    NOT_EMPTY,
    Check,
    ErrorIds,
    Flag,
    Given,
    Mistake,
    Model,
    Text,
    read_as,
)
from etl.documents.yaml_text import Map, Seq, read_yaml
from etl.errors import MappingError, Mistakes, nearest
from etl.mapping.row_tests import Obligation
from etl.model.canonical_tables import HEADER_OF, HEADERS, LINES, TABLES
from etl.model.crosswalks import Crosswalk
from etl.model.data_models import CLAIMS, DATA_MODELS, DataModel
from etl.model.severity import Severity
from etl.model.tables import Table
from etl.quality.rules.kinds import (
    KINDS,
    RULE_KEYS,
    Allowed,
    Clause,
    Condition,
    Disagrees,
    Elsewhere,
    HangsOnRejected,
    HangsOnWithdrawn,
    LineRejected,
    Reading,
    RuleKind,
    Unmet,
    UnpricedTier,
)
from etl.quality.rules.parameters import (
    PARENT_KEYS,
    CrosswalkName,
    Pattern,
    RawTexts,
    RuleNames,
    column_mistakes,
    relation_mistakes,
)

SINGLE: Final = frozenset({HangsOnRejected, LineRejected, HangsOnWithdrawn})
"""Kinds with exactly one rule per rule book: the cascade looks it up by its kind."""
K = TypeVar("K", bound=RuleKind)
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_IDS: Final = ErrorIds(key="rule-key", missing="rule-key", value="rule-value")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits past which a run stops; None means no limit.

    Attributes:
        rejected_claims: largest share of quarantined claim rows, 0 to 1.
        rejected_members: largest share of quarantined member rows, 0 to 1.
        rejected_rows: largest share of quarantined rows of a provider directory's table, 0 to 1.
        findings: rule id -> largest number of its findings.
        unowned_rows: largest number of orphan rows.
    """

    rejected_claims: Decimal | None = None
    rejected_members: Decimal | None = None
    rejected_rows: Decimal | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    unowned_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A payer's configuration of rules.

    Attributes:
        severities: rule id -> severity that replaces the rule's default.
        limits: limits of a run.
        origin: returns where the severity or limit of a rule is configured, for messages; takes
            `severities` or `findings` and the rule's id.
        other_rules: rules of other data models, which a policy may also name.
    """

    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Limits = Limits()
    origin: Callable[[str, str], str] = lambda _, rule_id: rule_id
    other_rules: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with the payer's severity.

    Attributes:
        id: stable name, in kebab case.
        tables: canonical tables that it checks.
        kind: the check and its parameters.
        severity: what a failure does to the row, after the policy.
        default: the severity in the rule file.
        says: one sentence that states what the rule found, without values.
        spoils: one sentence that states the consequence of a failure.
        where: file and line of the rule.
        blanks: whether failing cells are emptied.
        firm: whether a policy may only make the severity stricter.
        when: only rows that meet this condition are checked.
        unless: rows that meet this condition aren't checked; empty: all are.
        known_words: source words of the crosswalk that `Allowed` names, in lower case.
        crosswalk: the crosswalk that the check looks values up in; None if it needs none.
    """

    id: str
    tables: tuple[str, ...]
    kind: RuleKind
    severity: Severity
    default: Severity
    says: str
    spoils: str
    where: str
    blanks: bool = False
    firm: bool = False
    when: Condition = ()
    unless: Condition = ()
    known_words: frozenset[str] = frozenset()
    crosswalk: Crosswalk | None = None

    @property
    def check(self) -> str:
        """The name of the kind, as rule files write it."""
        return self.kind.check


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Every rule, in the order of their files, and the limits.

    Attributes:
        rules: the rules; a rule's index is its number.
        limits: the payer's.
        numbers: rule id -> index in `rules`.
        model: the data model of the tables that are checked.
    """

    rules: tuple[Rule, ...]
    limits: Limits
    numbers: Mapping[str, int]
    model: DataModel = CLAIMS

    def __getitem__(self, rule_id: str) -> Rule:
        """Return the rule of that id."""
        return self.rules[self.numbers[rule_id]]

    def of_kinds(self, *kinds: type[RuleKind]) -> tuple[Rule, ...]:
        """Return the rules of the given kinds, in order."""
        return tuple(rule for rule in self.rules if isinstance(rule.kind, kinds))

    def by_table(self, kind: type[K]) -> Iterator[tuple[Rule, K, str]]:
        """Yield each rule of a kind with its parameters and each of its tables, in order."""
        for rule in self.rules:
            if isinstance(rule.kind, kind):
                yield from ((rule, rule.kind, table) for table in rule.tables)

    def single(self, kind: type[RuleKind]) -> Rule:
        """Return the one rule of a kind of `SINGLE`."""
        return self.of_kinds(kind)[0]


def _check_id(text: str, _names: RuleNames) -> str:
    if not _ID.fullmatch(text):
        raise Mistake("rule-value", f"rule id {text!r} is not in kebab-case")
    return text


def _find_kind(check: str, names: RuleNames) -> type[RuleKind]:
    if check not in KINDS:
        raise Mistake("rule-check", f"no check {check!r}", nearest(check, KINDS))
    names.kind = KINDS[check]
    return names.kind


def _expand_tables(tables: tuple[str, ...], names: RuleNames) -> tuple[str, ...]:
    tables = names.all_tables if tables == ("*",) else tables
    for table in tables:
        if table not in TABLES:
            raise Mistake("rule-column", f"no table {table!r}", nearest(table, TABLES))
    names.tables = tables
    return tables


@dataclass(frozen=True, slots=True)
class Answers(Model):
    """Condition: the crosswalk maps the word to one of these answers."""

    crosswalk: CrosswalkName
    answers: RawTexts

    def mistakes(self, context: RuleNames) -> Iterator[Mistake]:
        """Yield answers that the crosswalk never gives."""
        answers = context.crosswalks[self.crosswalk].answers()
        for answer in self.answers:
            if answer not in answers:
                problem = f"crosswalk {self.crosswalk!r} never answers {answer!r}"
                yield Mistake("rule-crosswalk", problem, nearest(answer, answers), at=("answers",))


@dataclass(frozen=True, slots=True)
class ColumnCondition(Model):
    """Condition of one column: `filled`, `empty`, words, a pattern, or answers of a crosswalk."""

    filled: bool = True
    words: RawTexts = ()
    pattern: Pattern = ""
    among: Annotated[Answers | None, Given(Answers)] = None

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return the keys of answers and patterns: words stand alone."""
        return (*Answers.known_keys(), "pattern")

    @classmethod
    def normalize(cls, value: Any) -> Any:
        """Distinguish words from other conditions."""
        if value in ("filled", "empty"):
            return {"filled": value == "filled"}
        if isinstance(value, dict) and "pattern" in value:
            return value
        return {"among" if isinstance(value, dict) else "words": value}


def _condition_column(name: str, names: RuleNames) -> str:
    parent, column = _split_name(name)
    if parent in HEADERS and any(HEADER_OF.get(table) != parent for table in names.tables):
        raise Mistake("rule-column", f"{name!r}: the table belongs to no {parent}")
    if parent and parent not in HEADERS:
        for mistake in relation_mistakes(names.tables, parent, (name,)):
            raise mistake
    for mistake in column_mistakes(column, [parent] if parent else names.tables):
        raise mistake
    return name


def _split_name(name: str) -> tuple[str, str]:
    """Split a condition's column into its parent table (or "") and the column."""
    parent, _, column = name.rpartition(".")
    return (parent, column) if parent in PARENT_KEYS else ("", name)


def _build_clauses(columns: dict[str, ColumnCondition], names: RuleNames) -> Condition:
    clauses = []
    for name, condition in columns.items():
        words = frozenset(word.lower() for word in condition.words)
        if condition.among is not None:
            crosswalk, chosen = names.crosswalks[condition.among.crosswalk], condition.among.answers
            words = frozenset(word for word in crosswalk.rows if crosswalk.answer(word) in chosen)
        clauses.append(Clause(*_split_name(name), words, condition.filled, condition.pattern))
    return tuple(clauses)


When: TypeAlias = Annotated[
    Condition,
    Given(dict[Annotated[str, Check(_condition_column)], ColumnCondition]),
    NOT_EMPTY,
    Check(_build_clauses),
]


@dataclass(frozen=True, slots=True)
class RuleEntry(Model):
    """Fields of every rule, beside the parameters of its kind."""

    id: Annotated[Text, Check(_check_id)]
    check: Annotated[type[RuleKind], Given(Annotated[Text, Check(_find_kind)])]
    table: Annotated[RawTexts, Check(_expand_tables)]
    severity: Severity
    says: Text
    spoils: Text
    when: When = ()
    unless: When = ()
    blanks: Flag = False
    firm: Flag = False


def load_rules(
    texts: Mapping[str, str],
    policy: Policy,
    crosswalks: Mapping[str, Crosswalk],
    profile_rules: Iterable[Rule] = (),
    model: DataModel | None = CLAIMS,
) -> RuleBook:
    """Build the rule book from rule files and a payer's policy.

    Args:
        texts: file name -> its YAML; read in the order of the names.
        policy: severities and limits of the payer.
        crosswalks: every crosswalk by name, with the payer's overlay.
        profile_rules: rules of obligations; duplicates by id are merged into the first one, which
            then checks the tables of all.
        model: the data model of the tables that are checked; None for all models.

    Raises:
        MappingError: `rule-key`, `rule-value`, `rule-duplicate`, `rule-check`, `rule-column`,
            `rule-crosswalk`, `rule-missing` for the files; `rule-unknown`, `rule-firm` for the
            policy.
    """
    all_rules = read_rules(texts, crosswalks, model)
    tables = tables_by_name(model)
    rules = {
        rule.id: replace(rule, tables=own_tables)
        for rule in all_rules.values()
        if (own_tables := tuple(name for name in rule.tables if name in tables))
    }
    unmet_kinds = [rule.kind for rule in rules.values() if isinstance(rule.kind, Unmet)]
    for rule in profile_rules:
        if any(kind.reports(rule.id) for kind in unmet_kinds):
            continue  # a rule of the files reports it
        first = rules.get(rule.id, rule)
        rules[rule.id] = replace(first, tables=tuple(dict.fromkeys(first.tables + rule.tables)))
    for kind in (kind for kind in SINGLE if not kind.only or tables.keys() >= set(kind.only)):
        count = sum(isinstance(rule.kind, kind) for rule in rules.values())
        if count != 1:
            where = ", ".join(sorted(texts)) or "rules"
            message = f"exactly one rule must have check: {kind.check}, {count} have"
            raise MappingError(where, "rule-missing", message)
    _check_policy(policy, {**all_rules, **rules})
    final_rules = tuple(
        replace(rule, severity=policy.severities.get(rule.id, rule.default))
        for rule in rules.values()
    )
    numbers = {rule.id: index for index, rule in enumerate(final_rules)}
    return RuleBook(final_rules, policy.limits, numbers, model or CLAIMS)


def tables_by_name(model: DataModel | None) -> Mapping[str, Table]:
    """Return the tables of a data model, or of all of them, by name."""
    models = DATA_MODELS if model is None else (model,)
    return {name: table for model in models for name, table in model.tables.items()}


def read_rules(
    texts: Mapping[str, str], crosswalks: Mapping[str, Crosswalk], model: DataModel | None = None
) -> dict[str, Rule]:
    """Parse rule files into rules by id; `*` means every table of the data model, or of all models.

    Raises:
        MappingError: a file has mistakes; the error lists those of all files.
    """
    rules: dict[str, Rule] = {}
    tables = tuple(tables_by_name(model))
    mistakes = Mistakes()
    for name in sorted(texts):
        with mistakes.collected():
            document = read_yaml(texts[name], name)
            if not isinstance(document, Seq):
                raise MappingError(name, "rule-value", "a rule file must be a list of rules")
            for entry, mark in zip(document, document.marks, strict=True):
                with mistakes.collected():
                    rule = _parse_rule(entry, str(mark), RuleNames(crosswalks, tables))
                    if rule.id in rules:
                        problem = f"rule {rule.id!r} is already defined in {rules[rule.id].where}"
                        raise MappingError(rule.where, "rule-duplicate", problem)
                    rules[rule.id] = rule
    mistakes.report()
    return rules


def _find_crosswalk(kind: RuleKind, crosswalks: Mapping[str, Crosswalk]) -> Crosswalk | None:
    """Return the crosswalk that a rule looks values up in; None if it needs none."""
    match kind:
        case Elsewhere(crosswalk=name) | UnpricedTier(crosswalk=name):
            return crosswalks[name]
        case Disagrees(crosswalk=name) if name:
            return crosswalks[name]
        case Allowed(crosswalk=name) if name and crosswalks[name].systems:
            return crosswalks[name]
        case _:
            return None


def _check_policy(policy: Policy, rules: Mapping[str, Rule]) -> None:
    """Check that a policy names existing rules and weakens no firm one.

    Raises:
        MappingError: the policy has mistakes; the error lists all of them.
    """
    mistakes = Mistakes()
    for key, ids in (("severities", policy.severities), ("findings", policy.limits.findings)):
        for rule_id in ids:
            if rule_id not in rules and rule_id not in policy.other_rules:
                problem, hint = f"no rule {rule_id!r}", nearest(rule_id, rules)
                where = policy.origin(key, rule_id)
                mistakes.add(MappingError(where, "rule-unknown", problem, hint=hint))
    for rule_id, severity in policy.severities.items():
        rule = rules.get(rule_id)
        if rule and rule.firm and rule.default.rejects and not severity.rejects:
            problem = f"rule {rule_id!r} cannot be softened to {severity.value!r}: {rule.spoils}"
            where = policy.origin("severities", rule_id)
            mistakes.add(MappingError(where, "rule-firm", problem))
    mistakes.report()


def _parse_rule(entry: Any, where: str, names: RuleNames) -> Rule:
    mistakes = Mistakes()
    parsed: RuleEntry | None = None
    kind: RuleKind | None = None
    common = entry.only(*RULE_KEYS) if isinstance(entry, Map) else entry
    with mistakes.collected():
        parsed = read_as(RuleEntry, common, where, _IDS, names)
    if names.kind is not None and names.tables:
        with mistakes.collected():
            kind = read_as(names.kind, entry.without(*RULE_KEYS), where, _IDS, names)
    parsed, kind = mistakes.require(parsed), mistakes.require(kind)
    if isinstance(kind, Unmet) and not (parsed.severity.rejects and parsed.firm):
        problem = "a rule about a profile must reject, and must be firm"
        raise MappingError(str(entry.marks["severity"]), "rule-value", problem)
    words: Iterable[str] = ()
    if isinstance(kind, Allowed) and kind.crosswalk:
        words = names.crosswalks[kind.crosswalk].rows
    return Rule(
        id=parsed.id,
        tables=parsed.table,
        kind=kind,
        severity=parsed.severity,
        default=parsed.severity,
        blanks=parsed.blanks,
        firm=parsed.firm,
        when=parsed.when,
        unless=parsed.unless,
        says=parsed.says,
        spoils=parsed.spoils,
        where=where,
        known_words=frozenset(words),
        crosswalk=_find_crosswalk(kind, names.crosswalks),
    )


_SAYS: Final = {
    "required": "The resource would lack {path}, which {profile} requires.",
    "limit": "The resource would have more values at {path} than {profile} allows.",
    "pattern": "The value at {path} would not be the one that {profile} prescribes.",
    "binding": "The code at {path} would not be in the value set that {profile} requires.",
    "form": "The value at {path} does not have the form that FHIR requires.",
    "code": "The code at {path} would not be in its code system.",
    "reference": "The reference at {path} leads to nothing, or to a type that {profile} forbids.",
    "invariant": "The resource would break an invariant of {profile}.",
    "guide": "The value at {path} would break a rule that the guide states only in its text.",
}
_SPOILS: Final = "The resource would not conform to its profile, so it is not published."


def rules_of(obligations: Iterable[Obligation], table: str) -> tuple[Rule, ...]:
    """Build one rule per distinct rule id of some obligations.

    Args:
        obligations: the obligations of one plan.
        table: the table that the plan maps to resources.
    """
    severity = Severity.REJECT_CLAIM if table in HEADERS else Severity.REJECT_ROW
    rules: dict[str, Rule] = {}
    for obligation in obligations:
        if obligation.test is None or obligation.rule in rules:
            continue
        text = _SAYS[obligation.kind].format(
            path=obligation.path or "its root", profile=obligation.profile
        )
        rules[obligation.rule] = Rule(
            id=obligation.rule,
            tables=(table, LINES[table]) if table in HEADERS else (table,),
            kind=Reading(),
            severity=severity,
            default=severity,
            firm=True,
            says=text,
            spoils=_SPOILS,
            where=str(obligation.mark),
        )
    return tuple(rules.values())


def assign_rules(obligations: Iterable[Obligation], book: RuleBook) -> tuple[Obligation, ...]:
    """Point obligations to the rules that report them (`check: unmet`)."""
    unmet_rules = [(rule.id, rule.kind) for rule in book.rules if isinstance(rule.kind, Unmet)]
    return tuple(
        replace(
            obligation,
            rule=next(
                (name for name, kind in unmet_rules if kind.reports(obligation.rule)),
                obligation.rule,
            ),
        )
        for obligation in obligations
    )
