"""Rules as data: `mappings/rules/*.yaml` and a payer's policy into a checked, immutable rule book.

    - id: npi-check-digit
      table: [organization, practitioner]
      check: npi
      columns: [npi]
      severity: warn
      blanks: true
      says: The NPI does not have ten digits, or its check digit is wrong.
      spoils: The identifier would fail validation, so the provider is published without it.

A rule book is a plain value that pickles, so that it travels to worker processes.
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
)
from etl.quality.rules.parameters import (
    CrosswalkName,
    RawTexts,
    RuleNames,
    column_mistakes,
    relation_mistakes,
)

SINGLE: Final = frozenset({HangsOnRejected, LineRejected, HangsOnWithdrawn})
"""Kinds of which a rule book holds exactly one rule: the cascade looks it up by its kind."""
K = TypeVar("K", bound=RuleKind)
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_IDS: Final = ErrorIds(key="rule-key", missing="rule-key", value="rule-value")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits past which a run stops; None or left out: no limit.

    Attributes:
        rejected_claims: largest share of claim rows in quarantine, 0 to 1.
        rejected_members: largest share of member rows in quarantine, 0 to 1.
        rejected_rows: largest share of the rows of a directory's table in quarantine, 0 to 1.
        findings: rule id -> largest number of its findings.
        unowned_rows: largest number of rows that cannot be read and have no known owner.
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
        severities: rule id -> severity in place of the rule's own.
        elsewhere: rules of other data models, which a policy may name as well.
        limits: when a run stops.
        origin: returns where severity or limit of a rule is configured, for messages; takes
            `severities` or `findings` and the rule's id.
    """

    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Limits = Limits()
    origin: Callable[[str, str], str] = lambda _, rule_id: rule_id
    elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with the payer's severity.

    Attributes:
        id: stable name, in kebab case.
        tables: canonical tables that it is applied to.
        kind: what is looked for.
        severity: what a failure does to the row, after the policy.
        default: the severity that the rule file gives.
        says: one sentence for people, without values.
        spoils: one sentence: what a failure spoils downstream.
        where: file and line.
        blanks: the failing cell is absent afterwards, so that it cannot reach the output.
        firm: a policy may make it stricter, never weaker: what it lets through would be false.
        when: rows for which it does not hold are not checked.
        unless: rows for which it holds are not checked; empty: none.
        known_words: for a crosswalk's rule, the source words it maps, in lower case.
        crosswalk: of a rule that looks values up; None for any other.
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
        rules: the rules; their place in this tuple is their number.
        limits: the payer's.
        numbers: rule id -> place in `rules`.
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
        """Return the rules of some kinds, in order."""
        return tuple(rule for rule in self.rules if isinstance(rule.kind, kinds))

    def by_table(self, kind: type[K]) -> Iterator[tuple[Rule, K, str]]:
        """Yield each rule of a kind with its parameters and each of its tables, in order."""
        for rule in self.rules:
            if isinstance(rule.kind, kind):
                yield from ((rule, rule.kind, table) for table in rule.tables)

    def single(self, kind: type[RuleKind]) -> Rule:
        """Return the one rule of a kind of `SINGLE`."""
        return self.of_kinds(kind)[0]


def _checked_id(text: str, _names: RuleNames) -> str:
    if not _ID.fullmatch(text):
        raise Mistake("rule-value", f"rule id {text!r} is not in kebab-case")
    return text


def _kind(check: str, names: RuleNames) -> type[RuleKind]:
    if check not in KINDS:
        raise Mistake("rule-check", f"no check {check!r}", nearest(check, KINDS))
    names.kind = KINDS[check]
    return names.kind


def _tables(tables: tuple[str, ...], names: RuleNames) -> tuple[str, ...]:
    tables = names.every if tables == ("*",) else tables
    for table in tables:
        if table not in TABLES:
            raise Mistake("rule-column", f"no table {table!r}", nearest(table, TABLES))
    names.tables = tables
    return tables


@dataclass(frozen=True, slots=True)
class Answers(Model):
    """Source words to which a crosswalk gives one of some answers."""

    crosswalk: CrosswalkName
    answers: RawTexts

    def mistakes(self, context: RuleNames) -> Iterator[Mistake]:
        """Yield answers that the crosswalk never gives."""
        answers = context.crosswalks[self.crosswalk].answers()
        for answer in self.answers:
            if answer not in answers:
                what = f"crosswalk {self.crosswalk!r} never answers {answer!r}"
                yield Mistake("rule-crosswalk", what, nearest(answer, answers), at=("answers",))


@dataclass(frozen=True, slots=True)
class ColumnCondition(Model):
    """Condition of one column: `filled`, `empty`, words, or answers of a crosswalk."""

    filled: bool = True
    words: RawTexts = ()
    among: Annotated[Answers | None, Given(Answers)] = None

    @classmethod
    def known_keys(cls) -> tuple[str, ...]:
        """Return the keys of answers: words stand alone."""
        return Answers.known_keys()

    @classmethod
    def shaped(cls, value: Any) -> Any:
        """Distinguish words from other conditions."""
        if value in ("filled", "empty"):
            return {"filled": value == "filled"}
        return {"among" if isinstance(value, dict) else "words": value}


def _condition_column(name: str, names: RuleNames) -> str:
    above, column = _parts(name)
    if above in HEADERS and any(HEADER_OF.get(table) != above for table in names.tables):
        raise Mistake("rule-column", f"{name!r}: the table belongs to no {above}")
    if above == "coverage":
        for mistake in relation_mistakes(names.tables, above, name):
            raise mistake
    for mistake in column_mistakes(column, [above] if above else names.tables):
        raise mistake
    return name


def _parts(name: str) -> tuple[str, str]:
    """Return the table above that a condition's column is one of, or "", and the column."""
    above, _, column = name.rpartition(".")
    return (above, column) if above in (*HEADERS, "coverage") else ("", name)


def _clauses(columns: dict[str, ColumnCondition], names: RuleNames) -> Condition:
    clauses = []
    for name, condition in columns.items():
        words = frozenset(word.lower() for word in condition.words)
        if condition.among is not None:
            crosswalk, wanted = names.crosswalks[condition.among.crosswalk], condition.among.answers
            words = frozenset(word for word in crosswalk.rows if crosswalk.answer(word) in wanted)
        clauses.append(Clause(*_parts(name), words, condition.filled))
    return tuple(clauses)


When: TypeAlias = Annotated[
    Condition,
    Given(dict[Annotated[str, Check(_condition_column)], ColumnCondition]),
    NOT_EMPTY,
    Check(_clauses),
]


@dataclass(frozen=True, slots=True)
class RuleEntry(Model):
    """Fields of every rule, beside the parameters of its kind."""

    id: Annotated[Text, Check(_checked_id)]
    check: Annotated[type[RuleKind], Given(Annotated[Text, Check(_kind)])]
    table: Annotated[RawTexts, Check(_tables)]
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
    """Return the rule book that rule files and a payer's policy make together.

    Args:
        texts: file name -> its YAML; read in the order of the names.
        policy: severities and limits of the payer.
        crosswalks: every crosswalk by name, the payer's overlay on it.
        profile_rules: of obligations; of several with one id the first is kept, and
            applies to the tables of all.
        model: the data model of the tables that are checked; None for all together.

    Raises:
        MappingError: `rule-key`, `rule-value`, `rule-duplicate`, `rule-check`, `rule-column`,
            `rule-crosswalk`, `rule-missing` for the files; `rule-unknown`, `rule-firm` for the
            policy.
    """
    every = read_rules(texts, crosswalks, model)
    tables = every_table(model)
    rules = {
        rule.id: replace(rule, tables=mine)
        for rule in every.values()
        if (mine := tuple(name for name in rule.tables if name in tables))
    }
    by_name = [rule.kind for rule in rules.values() if isinstance(rule.kind, Unmet)]
    for rule in profile_rules:
        if any(kind.names(rule.id) for kind in by_name):
            continue  # a rule of the files reports it
        earlier = rules.get(rule.id, rule)
        rules[rule.id] = replace(earlier, tables=tuple(dict.fromkeys(earlier.tables + rule.tables)))
    for single in (kind for kind in SINGLE if not kind.only or tables.keys() >= set(kind.only)):
        single_rules = [rule for rule in rules.values() if isinstance(rule.kind, single)]
        if len(single_rules) != 1:
            raise MappingError(
                ", ".join(sorted(texts)) or "rules",
                "rule-missing",
                f"exactly one rule must have check: {single.check}, {len(single_rules)} have",
            )
    _check_policy(policy, {**every, **rules})
    settled = tuple(
        replace(rule, severity=policy.severities.get(rule.id, rule.default))
        for rule in rules.values()
    )
    numbers = {rule.id: index for index, rule in enumerate(settled)}
    return RuleBook(settled, policy.limits, numbers, model or CLAIMS)


def every_table(model: DataModel | None) -> Mapping[str, Table]:
    """Return the tables of a data model, or of all of them, by name."""
    models = DATA_MODELS if model is None else (model,)
    return {name: table for each in models for name, table in each.tables.items()}


def read_rules(
    texts: Mapping[str, str], crosswalks: Mapping[str, Crosswalk], model: DataModel | None = None
) -> dict[str, Rule]:
    """Return the rules of some files by id; `*` stands for every table of a data model, or of all.

    Raises:
        MappingError: every mistake of all files.
    """
    rules: dict[str, Rule] = {}
    mistakes = Mistakes()
    for name in sorted(texts):
        with mistakes.collected():
            document = read_yaml(texts[name], name)
            if not isinstance(document, Seq):
                raise MappingError(name, "rule-value", "a rule file must be a list of rules")
            for entry, mark in zip(document, document.marks, strict=True):
                with mistakes.collected():
                    rule = _rule(entry, str(mark), RuleNames(crosswalks, tuple(every_table(model))))
                    if rule.id in rules:
                        what = f"rule {rule.id!r} is already defined in {rules[rule.id].where}"
                        raise MappingError(rule.where, "rule-duplicate", what)
                    rules[rule.id] = rule
    mistakes.report()
    return rules


def _looked_up(kind: RuleKind, crosswalks: Mapping[str, Crosswalk]) -> Crosswalk | None:
    """Return the crosswalk that a rule looks values up in; None where it needs none."""
    match kind:
        case Elsewhere(crosswalk=name):
            return crosswalks[name]
        case Disagrees(crosswalk=name) if name:
            return crosswalks[name]
        case Allowed(crosswalk=name) if name and crosswalks[name].systems:
            return crosswalks[name]
        case _:
            return None


def _check_policy(policy: Policy, rules: Mapping[str, Rule]) -> None:
    """Check that a policy names existing rules, and weakens none that is firm.

    Raises:
        MappingError: every mistake of the policy.
    """
    mistakes = Mistakes()
    for key, ids in (("severities", policy.severities), ("findings", policy.limits.findings)):
        for rule_id in ids:
            if rule_id not in rules and rule_id not in policy.elsewhere:
                what, hint = f"no rule {rule_id!r}", nearest(rule_id, rules)
                where = policy.origin(key, rule_id)
                mistakes.add(MappingError(where, "rule-unknown", what, hint=hint))
    for rule_id, severity in policy.severities.items():
        rule = rules.get(rule_id)
        if rule and rule.firm and rule.default.rejects and not severity.rejects:
            what = f"rule {rule_id!r} cannot be softened to {severity.value!r}: {rule.spoils}"
            where = policy.origin("severities", rule_id)
            mistakes.add(MappingError(where, "rule-firm", what))
    mistakes.report()


def _rule(entry: Any, where: str, names: RuleNames) -> Rule:
    mistakes = Mistakes()
    read: RuleEntry | None = None
    kind: RuleKind | None = None
    common = entry.only(*RULE_KEYS) if isinstance(entry, Map) else entry
    with mistakes.collected():
        read = read_as(RuleEntry, common, where, _IDS, names)
    if names.kind is not None and names.tables:
        with mistakes.collected():
            kind = read_as(names.kind, entry.without(*RULE_KEYS), where, _IDS, names)
    read, kind = mistakes.made(read), mistakes.made(kind)
    if isinstance(kind, Unmet) and not (read.severity.rejects and read.firm):
        what = "a rule about a profile must reject, and must be firm"
        raise MappingError(str(entry.marks["severity"]), "rule-value", what)
    words: Iterable[str] = ()
    if isinstance(kind, Allowed) and kind.crosswalk:
        words = names.crosswalks[kind.crosswalk].rows
    return Rule(
        id=read.id,
        tables=read.table,
        kind=kind,
        severity=read.severity,
        default=read.severity,
        blanks=read.blanks,
        firm=read.firm,
        when=read.when,
        unless=read.unless,
        says=read.says,
        spoils=read.spoils,
        where=where,
        known_words=frozenset(words),
        crosswalk=_looked_up(kind, names.crosswalks),
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
    """Return one rule an id.

    Args:
        obligations: of one plan.
        table: the table that the plan makes resources of.
    """
    severity = Severity.REJECT_CLAIM if table in HEADERS else Severity.REJECT_ROW
    made: dict[str, Rule] = {}
    for obligation in obligations:
        if obligation.test is None or obligation.rule in made:
            continue
        says = _SAYS[obligation.what].format(
            path=obligation.path or "its root", profile=obligation.profile
        )
        made[obligation.rule] = Rule(
            id=obligation.rule,
            tables=(table, LINES[table]) if table in HEADERS else (table,),
            kind=Reading(),
            severity=severity,
            default=severity,
            firm=True,
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
