"""Parameters of rules: each is held to its meaning, and a mistake is named by its line."""

import dataclasses
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import pytest

from etl.documents.models import LISTED, NOT_EMPTY, Check
from etl.errors import MappingError
from etl.quality import Policy, load_rules
from etl.quality.rules.kind import KINDS
from tests.unit.quality.test_rule_files import CASCADE
from tests.unit.quality.world import crosswalks

CASES = {
    # pairs of dates
    "a misspelt column of a pair": (
        "table: member, check: order, pairs: [birth_date <= deth_date]",
        "did you mean 'death_date'?",
    ),
    "a pair with another sign": (
        "table: member, check: order, pairs: [birth_date < death_date]",
        "a pair is written: earlier <= later",
    ),
    "a pair of what are no dates": (
        "table: member, check: order, pairs: [birth_date <= gender]",
        "column 'gender' of 'member' is code, and 'pairs' takes date",
    ),
    # columns
    "a misspelt total": (
        "table: claim, check: equation, total: amount_eligble, plus: amount_copay",
        "did you mean 'amount_eligible'?",
    ),
    "a sum of what is no money": (
        "table: claim, check: equation, total: amount_eligible, plus: status",
        "'plus' takes money",
    ),
    "a number that is a word": (
        "table: claim, check: at-least, columns: status, least: 0",
        "takes decimal or integer or money",
    ),
    "a day of what is no date": (
        "table: claim, check: not-before, columns: status, day: '2000-01-01'",
        "takes date",
    ),
    "a day that there is not": (
        "table: claim, check: not-before, columns: paid_date, day: '2000-02-30'",
        "no YYYY-MM-DD day",
    ),
    "a misspelt column of the owner": (
        "table: member_telecom, check: repeated, columns: value, within: member",
        "did you mean 'member_id'?",
    ),
    "a misspelt column of the member": (
        "table: member_telecom, check: repeated, columns: value, within: member_id, also: phon",
        "did you mean 'phone'?",
    ),
    "rows without a member above": (
        "table: claim_note, check: repeated, columns: text, within: claim_id, also: phone",
        "no row of 'claim_note' belongs to 'member'",
    ),
    # rows of other tables
    "a misspelt parent": (
        "table: claim, check: orphan, parent: membr, by: member_id",
        "did you mean 'member'?",
    ),
    "a parent that nothing belongs to": (
        "table: claim, check: orphan, parent: claim_note, by: claim_id",
        "no table that rows belong to 'claim_note'",
    ),
    "a parent by another column": (
        "table: claim, check: orphan, parent: member, by: coverage_id",
        "'member' is named by member_id",
    ),
    "rows that belong to no such parent": (
        "table: claim_note, check: disagrees, parent: coverage, columns: claim_id",
        "no row of 'claim_note' belongs to 'coverage'",
    ),
    "a column that the parent has not": (
        "table: claim, check: disagrees, parent: coverage, columns: outcome",
        "table 'coverage' has no column 'outcome'",
    ),
    "a column of the parent that it has not": (
        "table: coverage, check: disagrees, parent: member, columns: status, against: [gendr]",
        "did you mean 'gender'?",
    ),
    "a column of the row that it has not": (
        "table: claim_line, check: disagrees, columns: units, against: ndc_qantity",
        "did you mean 'ndc_quantity'?",
    ),
    "nothing that a column is compared with": (
        "table: claim_line, check: disagrees, columns: units",
        "this check needs 'parent' or 'against'",
    ),
    "a cell that children do not have": (
        "table: claim, check: childless, child: claim_note, filled: amount_copay",
        "table 'claim_note' has no column 'amount_copay'",
    ),
    "a condition of a coverage on what has none": (
        "table: organization, check: unexpected, columns: npi, when: {coverage.status: [draft]}",
        "no row of 'organization' belongs to 'coverage'",
    ),
    "amounts of lines of what is no claim": (
        "table: coverage, check: disagrees, columns: status, against: plan_id,"
        " without-line-amounts: true",
        "the table belongs to no claim",
    ),
    "children that belong to others": (
        "table: member, check: childless, child: claim_line",
        "no row of 'claim_line' belongs to 'member'",
    ),
    "children of what has none": (
        "table: claim_note, check: childless, child: claim_line",
        "no rows of others belong to 'claim_note'",
    ),
    "a misspelt start of a period": (
        "table: claim_line, check: outside, column: service_from_date, above: claim, start: from",
        "table 'claim' has no column 'from'",
    ),
    "a period that is none": (
        "table: claim_line, check: outside, column: service_from_date, above: claim, end: status",
        "'end' takes date",
    ),
    "no period at all": (
        "table: claim_line, check: outside, column: service_from_date, above: claim",
        "needs 'start' or 'end'",
    ),
    "a way up that is none": (
        "table: claim_line, check: outside, column: service_to_date, above: coverage, end: x",
        "no row of 'claim_line' belongs to 'coverage'",
    ),
    # words
    "a word that a kind does not know": (
        "table: claim, check: duplicate, of: identicl",
        "did you mean 'identical'?",
    ),
    "a fault that there is not": (
        "table: claim, check: unknown-claim, columns: adjusted_to_claim_id, fault: gone",
        "fault must be one of absent, itself, another",
    ),
    "a table that is none of the directory's": (
        "table: claim, check: not-in-directory, columns: payer_id, of: member",
        "no table of the directory 'member'",
    ),
    "a type that there is not": ("table: claim, check: unreadable, type: mony", "'money'?"),
    "cents of what is no money": (
        "table: claim, check: unreadable, type: date, beyond-cents: true",
        "'beyond-cents' is for type money",
    ),
    "an obligation that is a sentence": (
        "table: claim, check: unmet, obligations: no good, firm: true",
        "no id of an obligation",
    ),
    # patterns are RE2's
    "a pattern that Python has and RE2 has not": (
        "table: claim, check: forbidden, columns: status, pattern: '^(?!x)'",
        "no pattern: invalid perl operator",
    ),
    "a replacement by a group that there is not": (
        "table: claim, check: rewrite, columns: status, pattern: 'a(b)', becomes: '\\2'",
        "no replacement: Rewrite schema requests 2 matches",
    ),
    "two texts where one belongs": (
        "table: claim, check: forbidden, columns: status, pattern: [a, b]",
        "pattern must be text",
    ),
    # tables that a kind cannot be for
    "codes where there are none": ("table: claim, check: icd-shape", "has no column 'code'"),
    "a sum of lines of what has none": (
        "table: coverage, check: sum-of-lines",
        "this check is for table 'claim', not for 'coverage'",
    ),
    "cards where there are none": ("table: claim, check: card-of-another", "'card_member_id'"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_in_a_parameter_is_named_by_its_line(case):
    rule, told = CASES[case]
    text = f"# mine\n- {{id: mine, {rule}, severity: reject-claim, says: It is., spoils: Much.}}\n"
    with pytest.raises(MappingError) as caught:
        load_rules({"cascade.yaml": CASCADE, "mine.yaml": text}, Policy(), crosswalks())
    assert caught.value.where == "mine.yaml:2"
    assert caught.value.error_id in ("rule-value", "rule-column", "rule-key")
    assert told in str(caught.value)


FREE = {"values", "becomes", "start", "end", "named_in", "areas", "in_force", "against", "filled"}
"""Texts that are held to something beside their own meaning, or may be any."""


def has_meaning(hint):
    """Tell whether a parameter's type says more than that it is text."""
    if get_origin(hint) is Annotated:
        of, *checks = get_args(hint)
        named = [one for one in checks if isinstance(one, Check) and one is not NOT_EMPTY]
        return bool([one for one in named if one is not LISTED]) or has_meaning(of)
    if get_origin(hint) is tuple:
        return has_meaning(get_args(hint)[0])
    return hint in (bool, int) or get_origin(hint) is Literal


def test_every_parameter_of_every_kind_has_a_meaning():
    assert "required" in KINDS
    for kind in KINDS.values():
        hints = get_type_hints(kind, include_extras=True)
        for parameter in dataclasses.fields(kind):
            assert has_meaning(hints[parameter.name]) != (parameter.name in FREE), parameter.name


MORE_CASES = {
    "a number that is a text": (
        "table: claim, check: at-least, columns: amount_eligible, least: '0'",
        "least must be a whole number",
    ),
    "no columns": ("table: claim, check: forbidden, columns: [], pattern: x", "must not be empty"),
    "a column that is a number": (
        "table: claim, check: forbidden, columns: [1], pattern: x",
        "columns must be text",
    ),
    "a parameter that is missing": (
        "table: claim, check: forbidden, columns: status",
        "pattern is missing",
    ),
    "a flag that is none": (
        "table: claim, check: allowed, columns: status, values: x, each: 1",
        "each must be true or false",
    ),
    "a day without quotes that there is": (
        "table: claim, check: not-before, columns: status, day: 2000-01-01",
        "takes date",
    ),
    "obligations that only warn": (
        "table: claim, check: unmet, obligations: c4bb.x",
        "what breaks a profile is rejected, and the rule is firm",
    ),
    "a condition of nothing": (
        "table: claim, check: misplaced, when: {}",
        "when must not be empty",
    ),
    "a condition that is a word": (
        "table: claim, check: misplaced, when: status",
        "must be key: value pairs",
    ),
    "a condition whose word is a number": (
        "table: claim, check: misplaced, unless: {status: [1]}",
        "status must be text",
    ),
    "answers of no crosswalk": (
        "table: claim, check: misplaced, unless: {status: {crosswalk: claim_stats, answers: x}}",
        "did you mean 'claim_status'?",
    ),
    "a crosswalk without answers": (
        "table: claim, check: misplaced, when: {status: {crosswalk: claim_status}}",
        "answers is missing",
    ),
    "a misspelt answers": (
        "table: claim, check: misplaced, when: {status: {crosswalk: claim_status, answer: x}}",
        "did you mean 'answers'?",
    ),
    "a table twice removed": (
        "table: claim_line, check: outside, column: service_to_date, above: [claim, covrage]",
        "did you mean 'coverage'?",
    ),
}


@pytest.mark.parametrize("case", MORE_CASES)
def test_what_a_rule_says_beside_its_kind_is_held_to_its_meaning(case):
    rule, told = MORE_CASES[case]
    text = f"# mine\n- {{id: mine, {rule}, severity: warn, says: It is., spoils: Much.}}\n"
    with pytest.raises(MappingError) as caught:
        load_rules({"cascade.yaml": CASCADE, "mine.yaml": text}, Policy(), crosswalks())
    assert caught.value.where == "mine.yaml:2"
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        ("a: b", "mine.yaml", "a rule file is a list of rules"),
        ("- {a: b}\n- just words", "mine.yaml:2", "must be key: value pairs"),
    ],
)
def test_what_is_no_list_of_rules_is_refused(text, where, told):
    with pytest.raises(MappingError) as caught:
        load_rules({"cascade.yaml": CASCADE, "mine.yaml": text}, Policy(), crosswalks())
    assert any(one.where == where and told in str(one) for one in caught.value.every)
