"""Any search gives what FHIR's specification, read resource by resource, gives."""

from datetime import datetime
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.gateway.supported_fhir import TYPES
from tests.given.tables import read_tables
from tests.property.gateway import oracle
from tests.unit.gateway.trees import (
    BASE,
    bundle,
    directory,
    grant,
    ids,
    members,
    opened,
    run,
    sample_tree,
    walk,
)

PREFIXES = ("", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")
EOB_DATES = (
    *("service-date", "service-start-date", "billable-period-start", "created"),
    "_lastUpdated",
)
REFERENCES = ("patient", "provider", "care-team", "coverage", "insurer", "payee")


@pytest.fixture(scope="module")
def service():
    return opened(sample_tree()).service


@st.composite
def around(draw, texts):
    """A date that is there, or a part of it; `test_dates_against_oracle` compares all others."""
    text = draw(st.sampled_from(texts))
    forms = [text, text[:10], text[:7], text[:4], f"{text[:10]}T00:00:00+13:30"]
    return draw(st.sampled_from(PREFIXES)) + draw(st.sampled_from(forms))


@st.composite
def parameter(draw, resources):
    """One search parameter of a claim, about values that some claims have."""
    kind = draw(st.sampled_from(["date", "date", "token", "reference", "id", "missing"]))
    some = draw(st.lists(st.sampled_from(resources), min_size=1, max_size=3))
    if kind == "date":
        name = draw(st.sampled_from(EOB_DATES))
        texts = [one["meta"]["lastUpdated"] for one in some]
        if name != "_lastUpdated":
            texts = [one["billablePeriod"]["start"] for one in some]
            texts += [one["created"] for one in some]
            texts += [
                item[key]
                for one in some
                for item in one.get("item", [])
                for key in ("servicedDate",)
                if key in item
            ]
        return name, ",".join(draw(st.lists(around(texts), min_size=1, max_size=2)))
    if kind == "token":
        name = draw(st.sampled_from(["type", "identifier", "status"]))
        values = [value for one in some for value in oracle.tokens(one, name)]
        forms = [
            form
            for system, code in values
            for form in (code, f"{system}|{code}", f"|{code}", f"{system}|", f"urn:x|{code}")
        ]
        modifier = draw(st.sampled_from(["", "", ":not"]))
        return name + modifier, ",".join(draw(st.lists(st.sampled_from(forms), min_size=1)))
    if kind == "reference":
        name = draw(st.sampled_from(REFERENCES))
        found = [value for one in resources for value in oracle.references(one, name)]
        if not found:
            return f"{name}:missing", "false"
        target = draw(st.sampled_from(["", found[0].partition("/")[0]]))
        chosen = st.sampled_from([value for value in found if value.startswith(target)])
        forms = [
            form
            for value in draw(st.lists(chosen, min_size=1, max_size=3))
            for form in (value, value.partition("/")[2], f"{BASE}/{value}")
        ]
        name += target and f":{target}"
        return name, ",".join(draw(st.lists(st.sampled_from(forms), min_size=1, max_size=3)))
    if kind == "id":
        return "_id", ",".join([one["id"] for one in some] + draw(st.sampled_from([[], ["no"]])))
    name = draw(st.sampled_from(["type", "provider", "payee", "service-date", "identifier"]))
    return f"{name}:missing", draw(st.sampled_from(["true", "false"]))


@st.composite
def question(draw):
    """A member, some parameters, an order, a page size."""
    patient = draw(st.sampled_from(sorted(members())))
    claims = [one for one in members()[patient] if one["resourceType"] == "ExplanationOfBenefit"]
    if not claims:
        return patient, [], None, 10
    parameters = draw(st.lists(parameter(claims), max_size=3))
    rules = st.sampled_from([*EOB_DATES, *(f"-{one}" for one in EOB_DATES), "_id", "-_id"])
    sort = draw(st.none() | st.lists(rules, min_size=1, max_size=2).map(",".join))
    return patient, parameters, sort, draw(st.sampled_from([1, 7, 10, 100]))


@settings(max_examples=200, deadline=None)
@given(question())
def test_a_search_finds_what_the_specification_finds_in_its_order_on_pages_of_any_size(
    service, asked
):
    patient, parameters, sort, size = asked
    now = datetime.fromisoformat(service_created(service))
    expected = [
        one
        for one in members()[patient]
        if one["resourceType"] == "ExplanationOfBenefit"
        and all(oracle.matches(one, *pair, base=BASE, now=now) for pair in parameters)
    ]
    if sort is not None:
        expected = oracle.in_order(expected, sort)
    shaping = [("_count", str(size))] + ([("_sort", sort)] if sort else [])
    who = grant(patient)
    answer = service.search(
        who, "ExplanationOfBenefit", [*parameters, *shaping], base=BASE, strict=True
    )
    found = list(islice(walk(service, who, answer), 4))
    wanted = [f"ExplanationOfBenefit/{one['id']}" for one in expected]
    assert found[0]["total"] == len(wanted)
    assert [one for page in found for one in ids(page)] == wanted[: 4 * size]


OTHERS = read_tables(__file__)["parameters"]


@st.composite
def other_parameter(draw, kind, resources):
    """One search parameter of another type than a claim, about values that some have."""
    name = draw(st.sampled_from(["_id", "_lastUpdated", *OTHERS[kind]]))
    some = draw(st.lists(st.sampled_from(resources), min_size=1, max_size=2))
    if name == "_id":
        return name, ",".join([one["id"] for one in some] + draw(st.sampled_from([[], ["no"]])))
    if name == "_lastUpdated":
        return name, draw(around([one["meta"]["lastUpdated"] for one in some]))
    if name == "birthdate":
        return name, draw(around([one["birthDate"] for one in some]))
    if draw(st.integers(0, 4)) == 0:
        return f"{name}:missing", draw(st.sampled_from(["true", "false"]))
    if name in ("identifier", "specialty"):
        tokens = [value for one in some for value in oracle.tokens(one, name)] or [("urn:x", "y")]
        system, code = draw(st.sampled_from(tokens))
        forms = [code, f"{system or ''}|{code}", f"|{code}", f"{system or 'urn:x'}|"]
        return name + draw(st.sampled_from(["", ":not"])), draw(st.sampled_from(forms))
    if name == "name":
        words = [word for one in some for word in oracle.strings(one)] or ["x"]
        word = draw(st.sampled_from(words))
        at = draw(st.integers(0, len(word) - 1))
        part = draw(st.sampled_from([word, word[: at + 1], word[at:], word[: at + 1].upper()]))
        escaped = part.replace("\\", "\\\\").replace(",", "\\,")
        return name + draw(st.sampled_from(["", ":exact", ":contains"])), escaped
    values = [value for one in some for value in oracle.references(one, name)]
    values = values or [f"{TYPES[kind].parameters[name].targets[0]}/no"]
    value = draw(st.sampled_from(values))
    return name, draw(
        st.sampled_from([value, value.partition("/")[2], f"{BASE}/{value}", f"{value},no"])
    )


def within_reach(patient, kind):
    """Return the resources of a type that a search without `_id` looks through."""
    own = members()[patient]
    text = repr(own)
    shared = [
        one
        for name, one in directory().items()
        if f"'{name}'" in text or f"'{oracle.belongs_to(one)}'" in text
    ]
    return [one for one in (*own, *shared) if one["resourceType"] == kind]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_other_types_are_searched_as_the_specification_says_among_what_is_within_reach(
    service, data
):
    patient = data.draw(st.sampled_from(sorted(members())))
    kind = data.draw(st.sampled_from(sorted(OTHERS)))
    resources = within_reach(patient, kind)
    parameters = (
        data.draw(st.lists(other_parameter(kind, resources), max_size=3)) if resources else []
    )
    now = datetime.fromisoformat(service_created(service))
    expected = {
        f"{kind}/{one['id']}"
        for one in resources
        if all(oracle.matches(one, *pair, base=BASE, now=now) for pair in parameters)
    }
    shaping = [*parameters, ("_count", "100")]
    answer = run(service.search(grant(patient), kind, shaping, base=BASE, strict=True))
    found = bundle(answer)
    assert found["total"] == len(expected)
    assert set(ids(found)) == expected


INCLUDES = [
    *(f"ExplanationOfBenefit:{one}" for one in REFERENCES),
    *(f"ExplanationOfBenefit:payee:{one}" for one in ("Organization", "Patient", "RelatedPerson")),
    *("ExplanationOfBenefit:*", "*"),
]


def followed(resource, include):
    """Return what an include brings of a claim."""
    _, name, target = f"{include}::".split(":")[:3]
    names = REFERENCES if name in ("", "*") else (name,)
    found = [value for one in names for value in oracle.references(resource, one)]
    return {value for value in found if value.startswith(target)}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_includes_bring_what_the_matches_refer_to_and_nothing_else(service, data):
    patient = data.draw(st.sampled_from(sorted(members())))
    chosen = data.draw(st.lists(st.sampled_from(INCLUDES), min_size=1, max_size=3))
    iterated = data.draw(st.booleans())
    parameters = [("_include", one) for one in chosen] + [("_count", "5")]
    parameters += [("_include:iterate", "Coverage:payor")] if iterated else []
    found = bundle(
        run(
            service.search(
                grant(patient), "ExplanationOfBenefit", parameters, base=BASE, strict=True
            )
        )
    )
    there = {f"{one['resourceType']}/{one['id']}": one for one in members()[patient]} | directory()
    matched = [there[one] for one in ids(found)]
    wanted = {value for one in matched for include in chosen for value in followed(one, include)}
    wanted &= there.keys()
    if iterated:
        wanted |= {
            value
            for one in wanted
            if one.startswith("Coverage/")
            for value in oracle.references(there[one], "payor")
        } & there.keys()
    included = ids(found, "include")
    assert sorted(included) == sorted(wanted)
    for entry in found.get("entry", []):
        resource = entry["resource"]
        name = f"{resource['resourceType']}/{resource['id']}"
        assert resource == there[name]
        assert entry["fullUrl"] == f"{BASE}/{name}"


def service_created(service):
    return service._releases.current().created
