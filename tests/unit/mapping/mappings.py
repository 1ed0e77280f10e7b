"""Small mappings for tests: the lines of one, put into a set and compiled."""

import json

from etl.errors import MappingError
from etl.mapping.library import compile_set
from etl.mapping.profile_checks import find_problems
from etl.model.crosswalks import read_crosswalk
from tests.given.tables import read_tables

CROSSWALKS = {
    "gender": read_crosswalk("source,code,system\nm,male,\nf,female,\n", "gender", file="gender"),
    "odd": read_crosswalk("source,code\nm,man\n", "odd", file="odd"),
}
PAYER = {"id": "p", "name": "Plan", "payer_id_system": ""}
_FILES = read_tables(__file__)
SET, FRAGMENTS = _FILES["set"], _FILES["fragments"]
PATIENT, EOB = _FILES["patient"], _FILES["eob"]


def compiled(text, more=None):
    """Return the set with one mapping in it."""
    texts = {"set.yaml": json.dumps(SET), "fragments.yaml": FRAGMENTS, "m.yaml": text}
    return compile_set({**texts, **(more or {})}, CROSSWALKS, PAYER)


def error(text, more=None):
    """Return the mistake that keeps a mapping from compiling."""
    try:
        compiled(text, more)
    except MappingError as found:
        return found
    raise AssertionError("it compiled")


def judged(text):
    """Return what a mapping does that its profile does not allow."""
    found = compiled(text)
    return [one for plan in found.plans for one in find_problems(plan, CROSSWALKS)]
