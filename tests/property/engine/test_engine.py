"""The engine and the row-by-row interpreter write the same bytes, whatever rows and mapping."""

import json
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.engine import render as render_module
from etl.engine.render import render
from etl.mapping.library import compile_set
from etl.mapping.plan import Environment, Provider
from etl.mapping.row_columns import columns_of
from etl.mapping.row_interpreter import explain_resources
from etl.model.canonical_tables import FieldType
from etl.model.crosswalks import read_crosswalk
from etl.model.relations import Many, One, relations_of
from etl.pipeline.lineage.explain import records_of
from etl.publish.canonical_json import dumps
from tests.given.tables import read_tables
from tests.property.engine.rows import tables, to_partition

CROSSWALKS = {
    "words": read_crosswalk(
        "source,code,system\ninnetwork,IN,urn:n\nA,,\nb7,B-7,urn:b\n1,one,\n", "words", file="words"
    )
}
ENVIRONMENT = Environment(
    payer="p",
    id_key=b"key",
    crosswalks=CROSSWALKS,
    providers={
        "vider1": (Provider("Organization", "vider1"), Provider("Practitioner", "vider9")),
        "vider2": (Provider("Practitioner", "vider2"),),
    },
)

_FILTERS = {FieldType[name]: ends for name, ends in read_tables(__file__)["filters"].items()}


@st.composite
def _columns(draw, scope):
    name, table = draw(st.sampled_from(scope))
    path = name
    ones = [key for key, to in relations_of(table).items() if isinstance(to, One)]
    follow = draw(st.booleans())
    if ones and follow:
        step = draw(st.sampled_from(ones))
        relation = relations_of(table)[step]
        assert isinstance(relation, One)
        path, table = f"{path}.{step}", relation.table
    column = draw(st.sampled_from(sorted(columns_of(table))))
    return f"{path}.{column}", columns_of(table)[column].type


@st.composite
def _conditions(draw, scope):
    column, _ = draw(_columns(scope))
    other, _ = draw(_columns(scope))
    return draw(
        st.sampled_from(
            [
                f"{column} is present",
                f"{column} is absent",
                f"{column} in ['A', '1', 'Y', 'inpatient', '2']",
                f"{column} != 'A'",
                f"{column} == {other}",
                f"not ({column} is present and {other} is present)",
                f"{column} is present or {other} in ['N', '3']",
            ]
        )
    )


@st.composite
def _leaves(draw, scope, looping):
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(["fixed", 'a "quoted" \\ text', True, 7]))
    column, kind = draw(_columns(scope))
    expression = column + draw(st.sampled_from(_FILTERS[kind]))
    form = draw(st.integers(0, 6))
    if form == 0:
        other, _ = draw(_columns(scope))
        return f'x"{{{{ {expression} }}}}/{{{{ {other} }}}}'
    if form == 1:
        expression = f"{expression} if {draw(_conditions(scope))}"
    elif form == 2:
        other, other_kind = draw(_columns(scope))
        if other_kind is kind:
            expression = f"first_of({expression}, {other})"
    elif form == 3 and looping:
        expression = "loop.index"
    if draw(st.integers(0, 5)) == 0:
        expression = f"({expression}) | weak"
    return f"{{{{ {expression} }}}}"


@st.composite
def _objects(draw, scope, depth, looping):
    members = {}
    if draw(st.integers(0, 3)) == 0:
        members["when"] = f"{{{{ {draw(_conditions(scope))} }}}}"
    for number in range(draw(st.integers(1, 3))):
        members[f"m{number}"] = draw(_nodes(scope, depth - 1, looping))
    return members


@st.composite
def _entries(draw, scope, depth, looping):
    row, table = draw(st.sampled_from(scope))
    rows = [name for name, to in relations_of(table).items() if isinstance(to, Many)]
    rows += [name for name, column in columns_of(table).items() if column.type is FieldType.LIST]
    if not rows or draw(st.integers(0, 2)) == 0:
        return draw(_leaves(scope, looping) | _objects(scope, depth - 1, looping))
    name = draw(st.sampled_from(rows))
    relation = relations_of(table).get(name)
    inner_table = relation.table if isinstance(relation, Many) else "list item"
    variable = f"r{len(scope)}"
    inner = [*scope, (variable, inner_table)]
    entry = {"for": f"{variable} in {row}.{name}"}
    if draw(st.booleans()):
        entry["when"] = f"{{{{ {draw(_conditions(inner))} }}}}"
    form = draw(st.integers(0, 2))
    if form == 0:
        entry["emit"] = draw(_leaves(inner, True))
    elif form == 1:
        entry["emit"] = [draw(_entries(inner, depth - 1, True)) for _ in range(2)]
    else:
        made = draw(_objects(inner, depth - 1, True))
        made.pop("when", None)
        entry |= made
    return entry


@st.composite
def _nodes(draw, scope, depth, looping):
    kind = draw(st.integers(0, 3 if depth > 0 else 0))
    if kind <= 1:
        return draw(_leaves(scope, looping))
    if kind == 2:
        return draw(_objects(scope, depth, looping))
    return [draw(_entries(scope, depth, looping)) for _ in range(draw(st.integers(1, 3)))]


@st.composite
def plans(draw):
    scope = [("claim", "claim")]
    emit = {"id": "{{ claim.claim_id | logical_id('ExplanationOfBenefit') }}"}
    body = draw(_objects(scope, 4, False))
    body.pop("when", None)
    mapping = {
        "resource": "ExplanationOfBenefit",
        "profile": "P",
        "from": "claim",
        "compartment": "{{ claim.member_id | logical_id('Patient') }}",
        "last_updated": "{{ claim.last_updated | instant }}",
        "emit": emit | body,
        "search": {
            "z": [draw(_leaves(scope, False))],
            "b": [draw(_leaves(scope, False)), draw(_leaves(scope, False))],
            "a": [draw(_entries(scope, 1, False))],
        },
    }
    if draw(st.booleans()):
        mapping["when"] = f"{{{{ {draw(_conditions(scope))} }}}}"
    texts = {
        "set.yaml": json.dumps(
            {"set": "s", "version": "1", "canonical": "urn:", "mappings": ["m.yaml"]}
        ),
        "m.yaml": json.dumps(mapping),
    }
    return compile_set(texts, CROSSWALKS, {}).plans[0]


@pytest.mark.parametrize("chunk", [1, 4 << 20])
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(plan=plans(), seed=st.integers(0, 10_000))
def test_engine_and_interpreter_write_the_same_bytes(chunk, plan, seed):
    partition = to_partition(tables(seed), ENVIRONMENT)
    first = min(chunk, 256)
    with patch.multiple(render_module, CHUNK_BYTES=chunk, _FIRST_CHUNK=first):
        got = [
            (
                made.ids[at].as_py(),
                made.compartments[at].as_py(),
                made.last_updated[at].as_py(),
                made.bodies[at].as_py(),
                made.searches[at].as_py(),
            )
            for made in render(plan, partition, ENVIRONMENT)
            for at in range(len(made.ids))
        ]
    want = [
        (made.id, made.compartment, made.last_updated, made.body, made.search)
        for made in (
            resource.rendered
            for resource in explain_resources(plan, records_of(partition), ENVIRONMENT)
        )
    ]
    assert got == want
    for _, _, _, body, search in got:
        json.loads('{"meta":{' + body)
        values = json.loads(search)
        assert list(values) == sorted(values)
        assert all(values.values())
        for texts in (values.get("z", []), values.get("b", [])):
            if all(isinstance(text, str) for text in texts):  # as those of a mapping's are
                assert not texts or dumps(texts).decode() in search


def _put(into, path, value):
    """Put a value where its path says; the obvious way to build JSON from paths."""
    if not path:
        return value
    step, *rest = path
    if isinstance(step, int):
        into = [] if into is None else into
        assert step <= len(into), "positions in a list leave no gap"
        if step == len(into):
            into.append(None)
    else:
        into = {} if into is None else into
        into.setdefault(step, None)
    into[step] = _put(into[step], tuple(rest), value)
    return into


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(plan=plans(), seed=st.integers(0, 10_000))
def test_the_elements_that_are_explained_are_just_those_of_the_resource(plan, seed):
    records = records_of(to_partition(tables(seed), ENVIRONMENT))
    resources = [resource.rendered for resource in explain_resources(plan, records, ENVIRONMENT)]
    assert list(explain_resources(plan, records, ENVIRONMENT, "no such id")) == []
    for made in resources:
        first = next(explain_resources(plan, records, ENVIRONMENT, made.id))
        same, elements = first.rendered, first.elements
        built = {}
        for element in elements:
            built = _put(built, element.path, json.loads(element.json))
            for cell in element.cells:
                assert cell.row.get(cell.column) == cell.value
        whole = json.loads('{"meta":{' + same.body)
        whole.pop("meta")
        assert built == whole
        assert [one.path for one in elements] == list(dict.fromkeys(one.path for one in elements))
