"""A mistake in a mapping is named with its file, its line, its kind and the nearest right name."""

import json
import re
from pathlib import Path

import pytest

import etl.mapping
from tests.given.tables import read_tables, table
from tests.unit.mapping.mappings import EOB, PATIENT, SET, error, judged


@pytest.mark.parametrize(*table(__file__, "in_patient"))
def test_a_mistake_is_named_with_its_line_and_kind(text, line, kind, words):
    found = error(PATIENT + text + "\n")
    file = "fragments.yaml" if line > 6 else "m.yaml"
    assert found.error_id == kind, str(found)
    assert found.where == f"{file}:{line}", str(found)
    assert words in str(found)


@pytest.mark.parametrize(*table(__file__, "together"))
def test_all_mistakes_are_named_at_once_each_once(mapping, files, mistakes):
    found = error(PATIENT + mapping, files)
    assert sorted([one.where, one.error_id] for one in found.every) == mistakes
    assert str(found).count("\n") == len(mistakes) - 1


@pytest.mark.parametrize("odd", ["a\nb", "a\x1b[2Jb", "a\u2028b"])
def test_a_name_with_a_line_break_leaves_its_message_one_line(odd):
    names = {**SET, "tables": {"rows": [{"column": odd}]}}
    mapping = PATIENT + "  name: [ { each: r in rows, family: '{{ member[r.column] }}' } ]\n"
    found = error(mapping, {"set.yaml": json.dumps(names)})
    assert found.error_id == "map-unknown-column"
    assert str(found).isprintable()
    assert repr(odd)[1:-1] in str(found).replace("\\\\", "\\")


@pytest.mark.parametrize(*table(__file__, "whole"))
def test_a_mapping_that_is_none_is_named(text, where, kind, words):
    found = error(text)
    assert (found.error_id, found.where) == (kind, where), str(found)
    assert words in str(found)


def test_a_row_where_a_text_is_wanted_is_a_wrong_parameter():
    text = PATIENT + "  text: { include: texted, with: { word: 7 } }\n"
    assert error(text).error_id == "map-parameter"


@pytest.mark.parametrize(*table(__file__, "in_set"))
def test_a_mistake_in_the_set_is_named(key, value, kind):
    body = {name: one for name, one in {**SET, key: value}.items() if one is not None}
    found = error(PATIENT, {"set.yaml": json.dumps(body)})
    assert found.error_id == kind
    assert found.where.startswith("set.yaml")


# -- what the profile says ---------------------------------------------------------------------


@pytest.mark.parametrize(*table(__file__, "against_patient"))
def test_what_the_profile_does_not_allow_is_named_with_path_and_line(text, line, kind, words):
    found = [one for one in judged(PATIENT + text + "\n") if one.error_id == kind]
    assert [one.where for one in found] == [f"m.yaml:{line}"], [str(one) for one in found]
    assert words in str(found[0])


def test_a_required_element_that_nobody_makes_is_named():
    found = {str(one) for one in judged(PATIENT) if one.error_id == "map-required"}
    for name in ("identifier", "name", "gender"):
        assert any(f"Patient.{name}: the profile requires it" in one for one in found)


def test_a_required_element_that_can_be_absent_is_named_with_a_way_out():
    def on_gender(leaf):
        found = judged(PATIENT + f'  gender: "{leaf}"\n')
        return [str(one) for one in found if "Patient.gender" in str(one)]

    (told,) = on_gender("{{ member.gender | translate('gender') }}")
    assert "it can be absent; give it a default" in told
    assert on_gender("{{ member.gender | translate('gender') | default('unknown') }}") == []


def test_a_pattern_that_is_not_kept_is_named():
    found = [str(one) for one in judged(EOB + "  use: preauthorization\n")]
    assert [one for one in found if "map-pattern" in one] == [
        "m.yaml:6: ExplanationOfBenefit.use: the profile wants 'claim' [map-pattern]"
    ]


def test_a_type_of_claim_that_is_another_profiles_is_named():
    system = "http://terminology.hl7.org/CodeSystem/claim-type"

    def on_type(code):
        text = f"  type: {{ coding: [ {{ system: '{system}', code: {code} }} ] }}\n"
        return [str(one) for one in judged(EOB + text) if "ExplanationOfBenefit.type" in str(one)]

    (told,) = on_type("institutional")
    assert "'institutional' is not in the required value set" in told
    assert on_type("professional") == []


@pytest.mark.parametrize(
    ("old", "new"), [("C4BB-Patient", "C4BB-Pateint"), ("C4BB-Patient", "C4BB-Coverage")]
)
def test_a_profile_that_is_none_or_of_another_type_is_named(old, new):
    found = judged(PATIENT.replace(old, new) + "  gender: male\n")
    assert [one.error_id for one in found] == ["map-unknown-profile"]
    assert new in str(found[0])


def test_every_kind_of_mistake_has_a_case():
    text = "".join(path.read_text() for path in sorted(Path(etl.mapping.__path__[0]).glob("*.py")))
    kinds = set(re.findall(r'"(map-[a-z-]+)"', text))
    tables = read_tables(__file__).values()
    cases = {case["kind"] for rows in tables for case in rows if "kind" in case}
    elsewhere = {"map-parameter", "map-required", "map-pattern", "map-unknown-profile"}
    # Those have cases in test_{view,coverage,obligations,search_checks}.py.
    assert kinds - cases == elsewhere | {"map-view", "map-skip", "map-unchecked", "map-search"}
