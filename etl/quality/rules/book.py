"""Rules as data: `mappings/rules/*.yaml` and a payer's policy into a checked, immutable rule book.

    - id: npi-check-digit
      table: [organization, practitioner]
      check: npi
      columns: [npi]
      severity: warn
      blanks: true
      says: The NPI is not ten digits with a right check digit.
      spoils: The identifier would fail validation, so the provider is published without it.

A rule book is a plain value that pickles, so that it travels to worker processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from decimal import Decimal
from typing import Annotated, Any, Final, get_origin, get_type_hints

from etl.documents.yaml_text import Map, Seq, read_yaml
from etl.errors import MappingError, Mistakes
from etl.model.canonical_tables import CLAIM_TABLES, TABLES
from etl.model.crosswalks import Crosswalk
from etl.model.severity import Severity
from etl.quality.rules.kinds import KINDS, SINGLE, Allowed, Clause, Condition, Kind, Unmet
from etl.quality.rules.parameters import (
    ParameterMistake,
    column_mistake,
    kind_mistake,
    near,
    text_mistake,
)

_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_KEYS: Final = frozenset(
    {"id", "table", "check", "severity", "spoils", "says", "when", "unless", "blanks", "firm"}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be wrong before a run stops; None or left out: no limit.

    Attributes:
        rejected_claims: largest share of claim rows in quarantine, 0 to 1.
        rejected_members: largest share of member rows in quarantine, 0 to 1.
        findings: rule id -> largest number of its findings.
        unowned_rows: largest number of rows that cannot be read and belong to nothing that could
            be told.
    """

    rejected_claims: Decimal | None = None
    rejected_members: Decimal | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    unowned_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What a payer's configuration says about rules.

    Attributes:
        severities: rule id -> severity in place of the rule's own.
        limits: when a run stops.
        origin: tells where severity or limit of a rule is configured, for messages; takes
            `severities` or `findings` and the rule's id.
    """

    severities: Mapping[str, Severity] = field(default_factory=dict)
    limits: Limits = Limits()
    origin: Callable[[str, str], str] = lambda _, rule_id: rule_id


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with the payer's severity.

    Attributes:
        id: stable name, in kebab case.
        tables: canonical tables whose rows it looks at.
        kind: what is looked for.
        severity: what a failure does to the row, after the policy.
        default: the severity that the rule file gives.
        blanks: the failing cell is absent afterwards, so that it cannot reach the output.
        firm: a policy may make it harder, never softer: what it lets through is no truth.
        when: rows for which it does not hold are not looked at.
        unless: rows for which it holds are not looked at; empty: none.
        says: one sentence for people, without values.
        spoils: one sentence: what a failure spoils downstream.
        where: file and line.
        known_words: for a crosswalk's rule, the source words it knows, in lower case.
    """

    id: str
    tables: tuple[str, ...]
    kind: Kind
    severity: Severity
    default: Severity
    blanks: bool
    firm: bool
    when: Condition
    unless: Condition
    says: str
    spoils: str
    where: str
    known_words: frozenset[str] = frozenset()

    @property
    def check(self) -> str:
        """The name of the kind, as rule files write it."""
        return next(name for name, kind in KINDS.items() if kind is type(self.kind))


@dataclass(frozen=True, slots=True)
class RuleBook:
    """Every rule, in the order of their files, and the limits.

    Attributes:
        rules: the rules; their place in this tuple is their number.
        limits: the payer's.
        numbers: rule id -> place in `rules`.
    """

    rules: tuple[Rule, ...]
    limits: Limits
    numbers: Mapping[str, int]

    def __getitem__(self, rule_id: str) -> Rule:
        """Return the rule of that id."""
        return self.rules[self.numbers[rule_id]]

    def of(self, *kinds: type[Kind]) -> tuple[Rule, ...]:
        """Return the rules of some kinds, in order."""
        return tuple(rule for rule in self.rules if isinstance(rule.kind, kinds))

    def the(self, kind: type[Kind]) -> Rule:
        """Return the one rule of a kind of `SINGLE`."""
        return self.of(kind)[0]


def load_rules(
    texts: Mapping[str, str],
    policy: Policy,
    crosswalks: Mapping[str, Crosswalk],
    obliged: Iterable[Rule] = (),
) -> RuleBook:
    """Return the rule book that rule files and a payer's policy make together.

    Args:
        texts: file name -> its YAML; read in the order of the names.
        policy: severities and limits of the payer.
        crosswalks: every crosswalk by name, the payer's overlay on it.
        obliged: rules of the profiles' obligations; of several with one id the first stands, and
            looks at the tables of all.

    Raises:
        MappingError: `rule-key`, `rule-value`, `rule-duplicate`, `rule-check`, `rule-column`,
            `rule-crosswalk`, `rule-missing` for the files; `rule-unknown`, `rule-firm` for the
            policy.
    """
    rules = read_rules(texts, crosswalks)
    by_name = [rule.kind for rule in rules.values() if isinstance(rule.kind, Unmet)]
    for rule in obliged:
        if any(kind.names(rule.id) for kind in by_name):
            continue  # a rule of the files speaks for it
        known = rules.get(rule.id, rule)
        rules[rule.id] = replace(known, tables=tuple(dict.fromkeys(known.tables + rule.tables)))
    for single in SINGLE:
        found = [rule for rule in rules.values() if isinstance(rule.kind, single)]
        if len(found) != 1:
            kind = next(name for name, kind in KINDS.items() if kind is single)
            raise MappingError(
                ", ".join(sorted(texts)) or "rules",
                "rule-missing",
                f"exactly one rule must have check: {kind}, {len(found)} have",
            )
    _check_policy(policy, rules)
    told = tuple(_under(policy, rule) for rule in rules.values())
    numbers = {rule.id: at for at, rule in enumerate(told)}
    return RuleBook(told, policy.limits, numbers)


def read_rules(texts: Mapping[str, str], crosswalks: Mapping[str, Crosswalk]) -> dict[str, Rule]:
    """Return the rules of some files by id.

    Raises:
        MappingError: every mistake of all files.
    """
    rules: dict[str, Rule] = {}
    mistakes = Mistakes()
    for name in sorted(texts):
        with mistakes.collected():
            document = read_yaml(texts[name], name)
            if not isinstance(document, Seq):
                raise MappingError(name, "rule-value", "a rule file is a list of rules")
            for entry, line in zip(document, document.lines, strict=True):
                with mistakes.collected():
                    rule = _Reader(name, line, entry, crosswalks).rule()
                    if rule.id in rules:
                        what = f"rule {rule.id!r} stands in {rules[rule.id].where}"
                        raise MappingError(rule.where, "rule-duplicate", what)
                    rules[rule.id] = rule
    mistakes.report()
    return rules


def _under(policy: Policy, rule: Rule) -> Rule:
    return replace(rule, severity=policy.severities.get(rule.id, rule.default))


def _check_policy(policy: Policy, rules: Mapping[str, Rule]) -> None:
    """Check that a policy names rules that there are, and softens none that is firm.

    Raises:
        MappingError: every mistake of the policy.
    """
    mistakes = Mistakes()
    for key, ids in (("severities", policy.severities), ("findings", policy.limits.findings)):
        for rule_id in ids:
            if rule_id not in rules:
                what, hint = f"no rule {rule_id!r}", near(rule_id, rules)
                where = policy.origin(key, rule_id)
                mistakes.add(MappingError(where, "rule-unknown", what, hint=hint))
    for rule_id, severity in policy.severities.items():
        rule = rules.get(rule_id)
        if rule and rule.firm and rule.default.rejects and not severity.rejects:
            what = f"rule {rule_id!r} cannot be softened to {severity.value!r}: {rule.spoils}"
            where = policy.origin("severities", rule_id)
            mistakes.add(MappingError(where, "rule-firm", what))
    mistakes.report()


class _Reader:
    """Reads one entry of a rule file; every mistake is named with its line."""

    def __init__(
        self, file: str, line: int, entry: Any, crosswalks: Mapping[str, Crosswalk]
    ) -> None:
        self.file = file
        self.line = line
        self.crosswalks = crosswalks
        if not isinstance(entry, Map):
            raise self.error("rule-value", "a rule is a mapping with id, table, check, …")
        self.entry = entry

    def error(self, error_id: str, what: str, key: str = "", hint: str = "") -> MappingError:
        line = self.entry.lines.get(key, self.line) if key else self.line
        return MappingError(f"{self.file}:{line}", error_id, what, hint=hint)

    def rule(self) -> Rule:
        mistakes = Mistakes()
        for read in (
            self.check,
            self.tables,
            self.severity,
            lambda: self.flag("blanks"),
            lambda: self.flag("firm"),
            lambda: self.text("says"),
            lambda: self.text("spoils"),
            lambda: self.condition("when", self.tables()),
            lambda: self.condition("unless", self.tables()),
            self._checked,
        ):
            with mistakes.collected():
                read()
        mistakes.report()
        return self._checked()

    def _checked(self) -> Rule:
        rule_id = self.text("id")
        if not _ID.fullmatch(rule_id):
            raise self.error("rule-value", f"rule id {rule_id!r} is not in kebab-case", "id")
        tables = self.tables()
        kind = self.kind(self.check(), tables)
        severity = self.severity()
        if isinstance(kind, Unmet) and not (severity.rejects and self.flag("firm")):
            what = "what breaks a profile is rejected, and the rule is firm"
            raise self.error("rule-value", what, "severity")
        words: frozenset[str] = frozenset()
        if isinstance(kind, Allowed) and kind.crosswalk:
            if kind.crosswalk not in self.crosswalks:
                hint = near(kind.crosswalk, self.crosswalks)
                what = f"no crosswalk {kind.crosswalk!r}"
                raise self.error("rule-crosswalk", what, "crosswalk", hint)
            words = frozenset(self.crosswalks[kind.crosswalk].rows)
        return Rule(
            id=rule_id,
            tables=tables,
            kind=kind,
            severity=severity,
            default=severity,
            blanks=self.flag("blanks"),
            firm=self.flag("firm"),
            when=self.condition("when", tables),
            unless=self.condition("unless", tables),
            says=self.text("says"),
            spoils=self.text("spoils"),
            where=f"{self.file}:{self.line}",
            known_words=words,
        )

    def check(self) -> type[Kind]:
        check = self.text("check")
        if check not in KINDS:
            raise self.error("rule-check", f"no check {check!r}", "check", near(check, KINDS))
        return KINDS[check]

    def text(self, key: str) -> str:
        value = self.entry.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error("rule-key", f"{key!r} is missing or no text", key)
        return value.strip()

    def flag(self, key: str) -> bool:
        value = self.entry.get(key, False)
        if not isinstance(value, bool):
            raise self.error("rule-value", f"{key!r} is true or false", key)
        return value

    def words(self, key: str, value: Any) -> tuple[str, ...]:
        values = value if isinstance(value, Seq) else [value]
        if not values or not all(isinstance(each, str) for each in values):
            raise self.error("rule-value", f"{key!r} is text or a list of texts", key)
        return tuple(values)

    def severity(self) -> Severity:
        word = self.text("severity")
        try:
            return Severity(word)
        except ValueError:
            known = [severity.value for severity in Severity]
            what = f"severity {word!r} is none of {', '.join(known)}"
            raise self.error("rule-value", what, "severity", near(word, known)) from None

    def tables(self) -> tuple[str, ...]:
        names = self.words("table", self.entry.get("table"))
        if names == ("*",):
            return tuple(TABLES)
        for name in names:
            if name not in TABLES:
                raise self.error("rule-column", f"no table {name!r}", "table", near(name, TABLES))
        return names

    def kind(self, made: type[Kind], tables: tuple[str, ...]) -> Kind:
        hints = get_type_hints(made, include_extras=True)
        named = {spec.name.replace("_", "-"): spec for spec in fields(made)}
        mistakes = Mistakes()
        for key in self.entry:
            if key not in _KEYS and key not in named:
                hint = near(key, [*named, *_KEYS])
                mistakes.add(self.error("rule-key", f"this check takes no {key!r}", key, hint))
        values: dict[str, Any] = {}
        for key, spec in named.items():
            with mistakes.collected():
                if key in self.entry:
                    values[spec.name] = self.parameter(key, hints[spec.name], tables)
                elif spec.default is MISSING and not mistakes:  # a misspelt key is named once
                    raise self.error("rule-key", f"this check needs {key!r}")
        mistakes.report()
        kind = made(**values)
        self.refuse(kind_mistake(kind, tables))
        return kind

    def parameter(self, key: str, hint: Any, tables: tuple[str, ...]) -> Any:
        value = self.entry[key]
        of, *meanings = (
            (hint.__origin__, *hint.__metadata__) if get_origin(hint) is Annotated else (hint,)
        )
        if of is bool:
            return self.flag(key)
        if of is int:
            if not isinstance(value, int) or isinstance(value, bool):
                raise self.error("rule-value", f"{key!r} is a whole number", key)
            return value
        if of is str and not isinstance(value, str):
            raise self.error("rule-value", f"{key!r} is one text", key)
        words = self.words(key, value)
        for word in words:
            self.refuse(text_mistake(meanings[0] if meanings else None, word, tables, key))
        return words[0] if of is str else words

    def refuse(self, mistake: ParameterMistake | None) -> None:
        if mistake is not None:
            key = mistake.key.replace("_", "-")
            raise self.error(mistake.error_id, mistake.what, key, mistake.hint)

    def condition(self, key: str, tables: Sequence[str]) -> Condition:
        value = self.entry.get(key)
        if value is None:
            return ()
        if not isinstance(value, Map) or not value:
            raise self.error("rule-value", f"{key!r} is a mapping of columns", key)
        clauses: list[Clause] = []
        for name, words in value.items():
            of_claim = name.startswith("claim.")
            column = name.removeprefix("claim.")
            if of_claim and not all(table in ("claim", *CLAIM_TABLES) for table in tables):
                raise self.error("rule-column", f"{name!r}: the table belongs to no claim", key)
            self.refuse(column_mistake(column, ["claim"] if of_claim else tables, key))
            if words in ("filled", "empty"):
                clauses.append(Clause(of_claim, column, frozenset(), words == "filled"))
            elif isinstance(words, Map):
                clauses.append(Clause(of_claim, column, self.answering(key, words), filled=True))
            else:
                told = frozenset(word.lower() for word in self.words(key, words))
                clauses.append(Clause(of_claim, column, told, filled=True))
        return tuple(clauses)

    def answering(self, key: str, spec: Map) -> frozenset[str]:
        """Return the source words to which a crosswalk gives one of some answers."""
        if set(spec) != {"crosswalk", "answers"}:
            raise self.error("rule-key", f"{key!r} takes words, or crosswalk and answers", key)
        name = spec["crosswalk"]
        if name not in self.crosswalks:
            hint = near(str(name), self.crosswalks)
            raise self.error("rule-crosswalk", f"no crosswalk {name!r}", key, hint)
        wanted = self.words("answers", spec["answers"])
        crosswalk = self.crosswalks[name]
        for answer in wanted:
            if answer not in crosswalk.answers():
                what = f"crosswalk {name!r} never answers {answer!r}"
                raise self.error("rule-crosswalk", what, key, near(answer, crosswalk.answers()))
        return frozenset(word for word in crosswalk.rows if crosswalk.answer(word) in wanted)
