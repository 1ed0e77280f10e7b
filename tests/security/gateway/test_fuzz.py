"""The server's own OpenAPI description, fuzzed: no fault, no status that is not told.

Schemathesis makes requests that fit the description, and such that do not. A second fuzzer puts
requests together from words that mean something here: ids of two members, prefixes, escapes.
"""

from collections import Counter
from functools import cache
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from etl.gateway.http.responses import KINDS
from etl.gateway.supported_fhir import API, TYPES
from tests.given.tables import read_tables
from tests.security.gateway.judging import assert_nothing_of_another, entries, own, server, words

ROUND = settings(
    max_examples=4,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
FORM = (b"content-type", b"application/x-www-form-urlencoded")


@cache
def operations():
    schema = schemathesis.openapi.from_dict(server().call("/fhir/openapi.json").json)
    made = schema.get_all_operations()
    return [found.ok() for found in made]


def call(case):
    """Make a request of a case, with the member's token in place of what was made up."""
    target = f"/fhir{case.formatted_path}"
    if case.query:
        target += f"?{urlencode(case.query, doseq=True)}"
    headers = [
        (name.lower().encode(), str(value).encode("latin-1", "ignore"))
        for name, value in (case.headers or {}).items()
        if name.lower() != "authorization"
    ]
    body = b""
    if isinstance(case.body, dict):
        headers.append(FORM)
        body = urlencode(case.body, doseq=True).encode()
    elif isinstance(case.body, str | bytes):
        body = case.body.encode() if isinstance(case.body, str) else case.body
    return server().call(target, *headers, method=case.method, body=body)


def judge(got, told):
    assert got.status in told
    assert "x-request-id" in got.headers
    if got.status == 200:
        if got.json["resourceType"] == "Bundle":
            assert all(TYPES[str(one["resourceType"])] for one in entries(got))
    elif got.status != 304:
        assert KINDS[got.code].status == got.status
    assert_nothing_of_another(got)


def one_round(operation, mode, told):
    """Make some requests of an operation, and return how often which status answered."""
    seen = Counter()

    @ROUND
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case):
        got = call(case)
        judge(got, told)
        seen[got.status] += 1

    one()
    return seen


@pytest.mark.parametrize(
    "rounds",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.long)],
)
def test_no_request_that_can_be_made_of_the_description_does_harm(rounds):
    seen = Counter()
    for operation in rounds * operations():
        responses = operation.definition.raw["responses"]
        # Every address may also be asked in vain for other things that HTTP knows.
        told = {int(status) for status in responses} | {304, 400, 405, 413, 414, 415}
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            seen += one_round(operation, mode, told)
    assert min(seen[200], seen[400]) > 0, seen


WORDS = read_tables(__file__)
NAMES = sorted(
    {name for kind in TYPES.values() for name in kind.parameters}
    | set(API["result_parameters"])
    | set(WORDS["further_names"])
)
PARTS = (*TYPES, *WORDS["parts"])

parameters = st.lists(
    st.tuples(*map(st.sampled_from, (NAMES, WORDS["suffixes"], WORDS["values"]))), max_size=4
)
paths = st.one_of(
    st.sampled_from([(one,) for one in TYPES]),
    st.sampled_from([("Patient", "{me}", "$everything"), ("Patient", "{them}", "$everything")]),
    st.lists(st.sampled_from(PARTS), max_size=4).map(tuple),
)


def assert_harmless(path, asked, post):
    said = words()
    target = "/fhir/" + "/".join(one.format(**said) for one in path)
    query = "&".join(
        f"{quote(name + suffix)}={quote(value.format(**said))}" for name, suffix, value in asked
    )
    if post:
        got = server().call(f"{target}/_search", FORM, method="POST", body=query.encode())
    else:
        got = server().call(f"{target}?{query}")
    assert got.status < 500
    assert_nothing_of_another(got)
    if got.status == 200 and got.json["resourceType"] == "Bundle":
        shortened = any(name in ("_elements", "_summary") for name, _, _ in asked)
        assert shortened or own(got)


@settings(max_examples=250, deadline=None)
@given(paths, parameters, st.booleans())
def test_no_words_of_this_server_put_together_reach_another_member(path, asked, post):
    assert_harmless(path, asked, post)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None)
@given(paths, parameters, st.booleans())
def test_no_words_of_this_server_put_together_reach_another_member_for_long(path, asked, post):
    assert_harmless(path, asked, post)
