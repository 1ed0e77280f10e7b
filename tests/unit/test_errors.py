"""Errors on their way between processes."""

import pickle

from etl.errors import MappingError


def test_a_mapping_error_of_a_worker_arrives_as_it_was():
    error = MappingError("eob.yaml:3", "map-path", "no path", hint="did you mean 'item'?")
    there = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(there, MappingError)
    assert str(there) == str(error)
    assert (there.where, there.error_id, there.hint) == ("eob.yaml:3", "map-path", error.hint)
