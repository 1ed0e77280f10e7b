"""Search values that no search finds are mistakes of a mapping."""

import pytest

from etl.mapping.search_checks import search_problems
from tests.unit.mapping.mappings import PATIENT, compiled

TYPES = {"identifier": "token", "organization": "reference", "family": "string"}


@pytest.mark.parametrize(
    ("search", "lines"),
    [
        ("identifier: [ '{{ member.member_id }}' ]", [7]),
        ("identifier: [ '{{ payer.id }}|{{ member.member_id }}', '|{{ member.member_id }}' ]", []),
        ("identifier: [ \"{{ 'urn:a|' ~ member.phone if member.phone is present }}\" ]", []),
        ("identifier: [ \"{{ first_of('urn:a|' ~ member.phone, member.email) }}\" ]", [7]),
        ("identifier: [ abc ]", [7]),
        ("identifier: [ { for: one in member.telecoms, emit: '{{ one.value }}' } ]", [7]),
        ("'identifier:text': [ '{{ member.member_id }}' ]", []),
        ("organization: [ \"{{ member.member_id | logical_id('Organization') }}\" ]", [7]),
        ("organization: [ \"Organization/{{ member.member_id | logical_id('Patient') }}\" ]", []),
        ("organization: [ \"{{ member.member_id | provider('Organization') }}\" ]", []),
        ("family: [ '{{ member.family_name }}' ]", []),
        ("of-its-own: [ '{{ member.member_id }}' ]", []),
    ],
)
def test_tokens_and_references_have_their_form(search, lines):
    (plan,) = compiled(f"{PATIENT}search:\n  {search}\n").plans
    found = list(search_problems(plan, TYPES))
    assert [one.where for one in found] == [f"m.yaml:{line}" for line in lines]
    assert all(one.error_id == "map-search" for one in found)
