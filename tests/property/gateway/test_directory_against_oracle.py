"""Searches of a directory give what a slow look at every resource gives, chains included."""

from functools import cache
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.publish import directory as publishing
from tests.unit.gateway import plan_net_oracle as oracle
from tests.unit.gateway.calls import FHIR
from tests.unit.gateway.trees import (
    LISTED,
    PLAN_NET_TYPES,
    TEXTS,
    bundle,
    grant,
    ids,
    opened,
    run,
    sample_tree,
    walk,
)
from tests.unit.gateway.trees import directory as directory_of

KINDS = sorted(PLAN_NET_TYPES)
SCOPES = tuple(f"patient/{kind}.rs" for kind in KINDS)
ORACLE_KNOWS = {
    kind: [*oracle.STRINGS.get(kind, ()), *oracle.TOKENS.get(kind, ()), *oracle.REFERENCES[kind]]
    for kind in KINDS
}


SEARCHED_TEXTS = {
    ("PractitionerRole", "specialty"): (":text",),
    ("InsurancePlan", "identifier"): (":text", ":of-type"),
}
"""Modifiers of tokens that have columns of their own in the tree of these tests."""


def directory():
    return directory_of(LISTED, *TEXTS)


@cache
def services():
    """The samples in as many shards as a directory a hundred times their size has."""
    with patch.object(publishing, "DIRECTORY_TARGET", 2):
        # The other tests have it in one shard.
        tree = sample_tree.__wrapped__(LISTED, *TEXTS)
    made = opened(None, listed=tree, page_limit=1000)
    assert sum(one is not None for one in made.releases.current().manifest.segments) > 2
    return made


def found(kind, conditions):
    query = [*conditions, ("_count", "1000")]
    answer = services().service.search(grant("", SCOPES), kind, query, base=FHIR, strict=True)
    page = bundle(run(answer))
    matches = ids(page)
    assert page["total"] == len(matches) == len(set(matches))
    return matches


def expected(kind, conditions):
    everything = directory()
    return {
        name
        for name, resource in everything.items()
        if resource["resourceType"] == kind
        and all(oracle.meets(everything, resource, *condition) for condition in conditions)
    }


@cache
def values(kind, parameter):
    """Return the values that resources of a type have for a parameter, as a search gives them."""
    given = set()
    for resource in directory().values():
        if resource["resourceType"] == kind:
            for value in oracle._any_values(resource, parameter):
                text = "|".join(value) if isinstance(value, tuple) else str(value)
                given.add(text.replace("\\", "\\\\").replace(",", "\\,"))
    return sorted(given) or ["nothing"]


@st.composite
def plain_conditions(draw, kind):
    special = ["_id", "_lastUpdated", *(["near"] if kind == "Location" else [])]
    parameter = draw(st.sampled_from([*ORACLE_KNOWS[kind], *special]))
    if parameter == "_id":
        names = [name for name in directory() if name.startswith(f"{kind}/")]
        return parameter, draw(st.sampled_from(names)).partition("/")[2]
    if parameter == "_lastUpdated":
        prefix = draw(st.sampled_from(sorted(oracle.COMPARISONS)))
        stamps = {one["meta"]["lastUpdated"][:10] for one in directory().values()}
        return parameter, prefix + draw(st.sampled_from([*sorted(stamps), "2024-06-30"]))
    if parameter == "near":
        place = f"{draw(st.floats(41.9, 42.6)):.4f}|{draw(st.floats(-72.2, -71.4)):.4f}"
        distance = f"{draw(st.floats(0.5, 60)):.3f}"
        return parameter, f"{place}|{distance}|{draw(st.sampled_from(['km', '[mi_us]']))}"
    if draw(st.integers(0, 5)) == 0:
        return f"{parameter}:missing", draw(st.sampled_from(["true", "false"]))
    chosen = draw(st.lists(st.sampled_from(values(kind, parameter)), min_size=1, max_size=2))
    modifier = ""
    if parameter in oracle.STRINGS.get(kind, {}):
        modifier = draw(st.sampled_from(["", ":exact", ":contains"]))
        if modifier != ":exact":
            chosen = [one[: draw(st.integers(1, 4))].rstrip("\\") or "x" for one in chosen]
    elif parameter in oracle.TOKENS.get(kind, {}):
        further = SEARCHED_TEXTS.get((kind, parameter), ())
        modifier = draw(st.sampled_from(["", ":not", *further]))
        if modifier in further:
            return parameter + modifier, draw(values_of_column(kind, parameter, modifier))
        cut = draw(st.sampled_from(["whole", "code", "system"]))
        if cut == "code":
            chosen = [one.rpartition("|")[2] for one in chosen]
        elif cut == "system":
            chosen = [f"{one.rpartition('|')[0]}|" for one in chosen if one != "nothing"] or ["x"]
    return parameter + modifier, ",".join(chosen)


@st.composite
def values_of_column(draw, kind, parameter, modifier):
    """Draw a value of `:text`, the beginning of some text, or of `:of-type`."""
    read = oracle.texts if modifier == ":text" else oracle.typed_identifiers
    resources = [one for one in directory().values() if one["resourceType"] == kind]
    found = sorted({value for one in resources for value in read(one, parameter)})
    chosen = draw(st.lists(st.sampled_from([*found, "x|y|z"]), min_size=1, max_size=2))
    if modifier == ":text":
        chosen = [one[: draw(st.integers(1, 12))] for one in chosen]
        chosen = [draw(st.sampled_from([one, one.upper(), one.lower()])) for one in chosen]
        chosen = [one for one in chosen if "|" not in one] or ["x"]
    return ",".join(one.replace(",", "\\,") for one in chosen)


@st.composite
def linked_conditions(draw, kind, depth=2):
    forward = [(name, target) for name, (_, target) in oracle.REFERENCES[kind].items()]
    reverse = [
        (other, name)
        for other, parameters in oracle.REFERENCES.items()
        for name, (_, target) in parameters.items()
        if target == kind
    ]
    way = draw(st.sampled_from(["plain", *["chain"] * bool(forward), *["has"] * bool(reverse)]))
    if way == "plain" or not depth:
        return draw(plain_conditions(kind))
    if way == "chain":
        name, target = draw(st.sampled_from(forward))
        rest, value = draw(linked_conditions(target, depth - 1))
        typed = draw(st.sampled_from(["", f":{target}"]))
        return f"{name}{typed}.{rest}", value
    other, name = draw(st.sampled_from(reverse))
    rest, value = draw(linked_conditions(other, depth - 1))
    return f"_has:{other}:{name}:{rest}", value


@st.composite
def searches(draw):
    kind = draw(st.sampled_from(KINDS))
    return kind, draw(st.lists(linked_conditions(kind), max_size=2))


@settings(max_examples=150)
@given(searches())
@example(("PractitionerRole", [("network.type", "ntwk"), ("specialty", "207Q00000X")]))
@example(("Practitioner", [("_has:PractitionerRole:practitioner:specialty", "207Q00000X")]))
@example(("PractitionerRole", [("specialty:text", "emergency m,a/")]))
@example(("PractitionerRole", [("specialty:text", "médecine"), ("network.type", "ntwk")]))
@example(("Practitioner", [("_has:PractitionerRole:practitioner:specialty:text", "FAMILY")]))
@example(("Organization", [("_has:InsurancePlan:owned-by:identifier:text", "the key pln-p")]))
@example(("Location", [("_has:InsurancePlan:coverage-area:owned-by.name", "b")]))
@example(
    (
        "Organization",
        [("address:exact", "1992 Kingfisher Way\\, Apt 4\\\\B\\, Peñasquito Alto\\, NM 87541")],
    )
)
def test_a_search_finds_what_a_look_at_everything_finds(search):
    kind, conditions = search
    assert set(found(kind, conditions)) == expected(kind, conditions)


@settings(max_examples=30)
@given(searches(), st.integers(1, 7))
def test_pages_put_together_are_the_whole(search, size):
    kind, conditions = search
    service, caller = services().service, grant("", SCOPES)
    query = [*conditions, ("_count", str(size))]
    pages = walk(service, caller, service.search(caller, kind, query, base=FHIR, strict=True))
    assert [name for page in pages for name in ids(page)] == found(kind, conditions)
