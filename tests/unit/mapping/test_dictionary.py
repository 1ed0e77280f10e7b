"""The data dictionary says of every column and MapID where it goes, in three forms."""

import csv
import io
import json
import re

import pytest

from etl.mapping.dictionary import (
    DictionaryRow,
    build_dictionary,
    dictionary_csv,
    dictionary_html,
    dictionary_markdown,
    published_dictionary,
)
from etl.model.data_models import CLAIMS
from tests.given.tables import read_tables, table
from tests.unit.mapping.mappings import PATIENT, compiled

TEXT = PATIENT + read_tables(__file__)["mapping"]


def rows():
    return build_dictionary(compiled(TEXT).plans)


def row(column, path):
    (found,) = (one for one in rows() if (one.column, one.path) == (column, path))
    return found


@pytest.mark.parametrize(*table(__file__, "columns"))
def test_a_column_goes_where_it_is_written_with_its_map_ids_and_role(column, path, map_ids, role):
    found = row(column, path)
    assert ([*found.map_ids], found.role) == (map_ids, role)


def test_a_column_that_is_written_is_a_value_though_it_decides_besides():
    value = "member.birth_date | date if not member.birth_date < member.death_date"
    plans = compiled(f'{PATIENT}  birthDate: "{{{{ {value} }}}}"\n').plans
    found = {one.column: one.role for one in build_dictionary(plans)}
    assert (found["birth_date"], found["death_date"]) == ("value", "decides")


def test_what_is_left_out_is_listed_last_with_the_reason():
    last = [one for one in rows() if one.role == "left out"]
    assert list(rows())[-len(last) :] == last
    assert {(one.map_ids, one.path, one.note) for one in last} == {
        ((34, 80), "", "gone & forgotten"),
        ((), "Patient.telecom", "no <phone>"),
    }


def test_csv_holds_every_row():
    read = list(csv.DictReader(io.StringIO(dictionary_csv(rows()))))
    assert len(read) == len(rows())
    assert {"column": "gender", "MapIDs": "71, 999", "role": "value"}.items() <= next(
        one for one in read if one["column"] == "gender"
    ).items()
    assert read[-1]["note"]


def test_markdown_has_a_section_a_table_and_profiles_of_one_line_in_one_cell():
    twice = build_dictionary(compiled(TEXT).plans)
    other = [
        DictionaryRow(one.table, one.column, one.map_ids, one.path, "Other", one.role, one.note)
        for one in twice
    ]
    text = dictionary_markdown([*twice, *other])
    assert "\n## member\n" in text
    assert "| gender | 71, 999 | Patient.gender | C4BB-Patient, Other | value |" in text
    assert "| 34, 80 |  | C4BB-Patient, Other | gone & forgotten |" in text


def test_html_is_one_page_with_links_to_its_sections_and_text_escaped():
    page = dictionary_html(rows())
    assert not re.search("<(script|link|img|phone)", page)
    sections = re.findall(' id="([^"]*)"', page)
    assert sections
    assert re.findall('href="([^"]*)"', page) == [f"#{name}" for name in sections]
    assert ">gone &amp; forgotten<" in page
    assert ">no &lt;phone&gt;<" in page


def test_a_release_has_the_dictionary_by_element_with_what_columns_hold():
    body = json.loads(published_dictionary(rows(), CLAIMS))
    found = {(one["path"], one["role"]): one for one in body["rows"] if one["type"] == "Patient"}
    gender = found["gender", "value"]
    assert (gender["column"], gender["mapIds"]) == ("member.gender", [71, 999])
    assert gender["meaning"]
    assert gender["profiles"] == ["C4BB-Patient"]
    assert found["telecom", "left out"]["meaning"] == "no <phone>"
