"""A small dialect for tests, and pieces to change in it."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.model.crosswalks import Crosswalk
from etl.sources import Layout, LayoutText, read_layout

OWN = Path(__file__).parents[2] / "golden/own-mappings"
"""A mappings folder of a payer's own: four layouts that do not ship, two of them overlays."""

LAYOUT = """\
layout: tiny
title: Tiny
description: One file of persons and one of claim lines.
raw:
  persons:
    compulsory: true
    member: Person
    coverage: Policy
    required: [Person, Policy, Born]
    columns: [Name, Sex, Payer]
  bills:
    compulsory: true
    member: Person
    claim: Bill
    required: [Bill, Person, Row]
    columns: [Kind, Day, Paid, Total, Sum, Doctor, Clinic, Code, System, Note, Extra]
    aliases:
      old: { Day: [Date of bill, When] }
    unused:
      - { column: Extra, reason: means nothing }
tables:
  member:
    from: persons
    columns:
      member_id: Person
      full_name: Name
      birth_date: Born
      gender: { column: Sex, crosswalk: sexes }
  coverage:
    from: persons
    columns:
      coverage_id: Policy
      member_id: Person
      relationship: { constant: self }
      payer_id: Payer
  claim:
    from: bills
    grain: [Bill, Person]
    order: [Row]
    columns:
      claim_id: Bill
      member_id: Person
      claim_type: Kind
      coverage_id: { lookup: { table: persons, key: Person, by: Person, value: Policy } }
      payer_id: { lookup: { table: persons, key: Person, by: Person, value: Payer } }
      statement_from_date: { column: Day, sentinels: ["1969-12-31", "1970-01-01"] }
      adjudication_date: { first_of: [Paid, Day], finding: dialect-stand-in-value }
      amount_submitted: { column: Total, amount: true }
  claim_line:
    from: bills
    columns:
      claim_id: Bill
      line_number: Row
      service_from_date: Day
      amount_submitted: { column: Sum, amount: true }
      denial_reason: { join: [Note, Code] }
  claim_care_team:
    from: bills
    grain: [Bill, Person]
    order: [Row]
    needs: [provider_id]
    columns:
      claim_id: Bill
      sequence: { number_within: [claim_id] }
    rows:
      - { role: { constant: attending }, provider_id: Doctor }
      - { role: { constant: referring }, provider_id: Clinic }
  claim_diagnosis:
    from: bills
    where: { column: Code, filled: true }
    grain: [Bill, Person, Code]
    order: [Row]
    needs: [code]
    columns:
      claim_id: Bill
      sequence: { number_within: [claim_id] }
      code:
        column: Code
        accept: { pattern: "[A-Z][0-9.]+", where: { column: System, any_of: [ICD] } }
        crosswalk: foreign
        rule: dialect-foreign-code-system
      type: { constant: principal, when: { column: System, none_of: [other] } }
      line_numbers: { each_row: Row }
"""


def crosswalk(name: str, **rows: str) -> Crosswalk:
    """A crosswalk with one answer column."""
    return Crosswalk(name, ("code",), MappingProxyType({k: (v,) for k, v in rows.items()}))


CROSSWALKS = {
    "sexes": crosswalk("sexes", m="M", f="F", x=""),
    "foreign": crosswalk("foreign", s1="E11.9"),
}
PERSONS = "Person,Policy,Born,Name,Sex,Payer\nM1,C1,1970-01-01,Ng,f,P1\n"
BILLS_HEADER = "Bill,Person,Row,Kind,Day,Paid,Total,Sum,Doctor,Clinic,Code,System,Note\n"
BILLS = BILLS_HEADER + "B1,M1,1,professional,2024-01-05,2024-01-09,10,10,D1,O1,I10,ICD,\n"


def layout(text: str = LAYOUT) -> Layout:
    """The layout that a text describes."""
    return read_layout(text, "tiny.yaml", CROSSWALKS)


def shipped_layouts() -> tuple[Layout, ...]:
    """The layouts that come with the program."""
    return _layouts_in(shipped())


def known_layouts() -> tuple[Layout, ...]:
    """The layouts that come with the program, and examples of a payer's own."""
    return _layouts_in(shipped(), OWN)


def _layouts_in(*folders: Path) -> tuple[Layout, ...]:
    prefix = "layouts/"
    crosswalks = {
        name.removeprefix(prefix): found
        for name, found in read_crosswalks(folders).items()
        if name.startswith(prefix)
    }
    paths = sorted(path for folder in folders for path in (folder / "layouts").glob("*.yaml"))
    texts = {path.stem: LayoutText(str(path), path.read_text()) for path in paths}
    return tuple(read_layout(each.text, each.file, crosswalks, texts) for each in texts.values())


def write(folder: Path, bills: str = BILLS, persons: str = PERSONS) -> Path:
    """An extract of the dialect."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "persons.csv").write_text(persons, encoding="utf-8")
    (folder / "bills.csv").write_text(bills, encoding="utf-8")
    return folder
