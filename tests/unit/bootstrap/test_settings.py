"""Settings: flags beat the environment, that beats the file; and no secret is ever shown."""

import pickle
from pathlib import Path

import pytest

from etl.bootstrap.definitions import load_definitions
from etl.bootstrap.settings import DEMO_ID_KEY, Settings, read_settings, setting_names
from etl.errors import MappingError
from tests.given.tables import table


@pytest.fixture(autouse=True)
def _nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_flags_beat_the_environment_which_beats_the_file(monkeypatch):
    assert read_settings(None).target == "output"
    Path("cpcds.toml").write_text("target = 'file'\nlayout = 'file'\n[payer]\nname = 'File'\n")
    assert read_settings(None).target == "file"
    monkeypatch.setenv("CPCDS_TARGET", "environment")
    monkeypatch.setenv("CPCDS_LAYOUT", "environment")
    found = read_settings(None, target="flag", layout=None)
    assert (found.target, found.layout, found.payer.name) == ("flag", "environment", "File")


def test_a_part_set_by_environment_leaves_the_rest_of_it_to_the_file(monkeypatch):
    Path("cpcds.toml").write_text("[payer]\nname = 'File'\nid = 'file'\n")
    monkeypatch.setenv("CPCDS_PAYER__ID", "environment")
    found = read_settings(None)
    assert (found.payer.name, found.payer.id) == ("File", "environment")


def test_a_named_file_is_read_instead_of_the_one_in_this_folder(tmp_path):
    Path("cpcds.toml").write_text("target = 'here'")
    (tmp_path / "other.toml").write_text("target = 'other'")
    assert read_settings(tmp_path / "other.toml").target == "other"


def test_settings_can_be_sent_to_another_process():
    Path("cpcds.toml").write_text("target = 'file'\n[run]\nworkers = 3\n")
    found = read_settings(None)
    there = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert there == found
    assert there.with_run(workers=2).run.workers == 2


@pytest.fixture(scope="module")
def fingerprint():
    """The fingerprint of definitions where nothing is set."""
    return load_definitions(Settings()).fingerprint


def test_the_same_settings_give_tools_of_the_same_fingerprint(fingerprint):
    assert load_definitions(read_settings(None)).fingerprint == fingerprint


@pytest.mark.parametrize(
    "toml",
    [
        "id_key = 'another key, and as long as one has to be'",
        "[payer]\nname = 'Another'",
        "[rules.severities]\nnpi = 'reject-row'",
    ],
)
def test_whatever_changes_the_output_changes_the_fingerprint(toml, fingerprint):
    Path("cpcds.toml").write_text(toml)
    assert load_definitions(read_settings(None)).fingerprint != fingerprint


def test_what_does_not_change_the_output_does_not_change_the_fingerprint(fingerprint):
    Path("cpcds.toml").write_text("target = 'x'\n[run]\nworkers = 7\npartition_rows = 5\n")
    assert load_definitions(read_settings(None)).fingerprint == fingerprint


def test_the_id_key_is_not_printed(monkeypatch):
    monkeypatch.setenv("CPCDS_ID_KEY", "a-secret-of-ours-that-is-long-enough")
    found = read_settings(None)
    assert not found.is_demo_key
    definitions = load_definitions(found)
    for text in (
        repr(found),
        str(found),
        found.model_dump_json(),
        repr(definitions),
        definitions.fingerprint,
    ):
        assert "a-secret-of-ours-that-is-long-enough" not in text


@pytest.mark.parametrize("key", ["", "s3cret", "s3cret" * 5, "s3cret" * 20])
def test_a_key_that_is_too_short_or_too_long_is_refused_and_not_printed(monkeypatch, key):
    monkeypatch.setenv("CPCDS_ID_KEY", key)
    with pytest.raises(MappingError, match="a key has 32 characters at least") as told:
        load_definitions(read_settings(None))
    assert "s3cret" not in str(told.value)
    assert told.value.where == "CPCDS_ID_KEY"
    assert told.value.exit_code == 3


def test_the_database_of_a_sandbox_is_beside_its_target(tmp_path):
    sandbox = {"mode": "sandbox"}
    folder = tmp_path / "elsewhere" / "published"
    beside = f"sqlite:///{tmp_path}/elsewhere/cpcds-auth.sqlite3"
    default = "sqlite:///cpcds-auth.sqlite3"
    for target, auth, database in (
        (str(folder), sandbox, beside),
        ("s3://bucket/tree", sandbox, default),
        (str(folder), {"mode": "production"}, default),
        (str(folder), {**sandbox, "database": "sqlite:///own.db"}, "sqlite:///own.db"),
    ):
        assert read_settings(None, target=target, auth=auth).auth.database == database
    Path("cpcds-auth.sqlite3").touch()  # one of before
    assert read_settings(None, target=str(folder), auth=sandbox).auth.database == default


def test_the_public_key_is_known_as_such():
    assert read_settings(None).is_demo_key
    assert "public" in DEMO_ID_KEY


def test_a_variable_that_is_no_setting_is_named_with_the_nearest_that_is(monkeypatch):
    monkeypatch.setenv("CPCDS_TARGTE", "x")
    with pytest.raises(MappingError, match="did you mean 'CPCDS_TARGET'") as told:
        read_settings(None)
    assert (told.value.where, told.value.error_id) == ("CPCDS_TARGTE", "config-unknown-setting")
    monkeypatch.delenv("CPCDS_TARGTE")
    monkeypatch.setenv("CPCDS_PAYER_ID", "x")
    with pytest.raises(MappingError, match="did you mean 'CPCDS_PAYER__ID'"):
        read_settings(None)
    monkeypatch.delenv("CPCDS_PAYER_ID")
    monkeypatch.setenv("CPCDS_LAYOUT__NAME", "x")
    with pytest.raises(MappingError, match="no setting 'CPCDS_LAYOUT__NAME'"):
        read_settings(None)


def test_parts_and_tables_may_be_given_by_variables_as_json(monkeypatch):
    monkeypatch.setenv("CPCDS_PAYER", '{"id": "acme"}')
    monkeypatch.setenv("CPCDS_LIMITS__FINDINGS", '{"npi": 3}')
    found = read_settings(None)
    assert (found.payer.id, found.limits.findings) == ("acme", {"npi": 3})


def test_every_mistake_of_a_configuration_is_told_at_once_with_its_place(monkeypatch):
    Path("cpcds.toml").write_text(
        "# ours\ntargte = 'x'\n\n[limits]\n# a share\nrejected_claims = 2\n\n"
    )
    monkeypatch.setenv("CPCDS_RUN__WORKERS", "-1")
    monkeypatch.setenv("CPCDS_PAYR__ID", "x")
    with pytest.raises(MappingError) as told:
        read_settings(None, serve={"port": -1})
    assert sorted((one.where, one.error_id) for one in told.value.every) == [
        ("--port", "config-value"),
        ("CPCDS_PAYR__ID", "config-unknown-setting"),
        ("CPCDS_RUN__WORKERS", "config-value"),
        ("cpcds.toml:2", "config-unknown-setting"),
        ("cpcds.toml:6", "config-value"),
    ]


def test_what_is_no_toml_is_told_with_its_line_and_beside_what_else_is_wrong(monkeypatch):
    Path("cpcds.toml").write_text("target = 'x'\n[payer]\nid = \n")
    monkeypatch.setenv("CPCDS_TARGTE", "x")
    with pytest.raises(MappingError) as told:
        read_settings(None)
    assert [one.where for one in told.value.every] == ["CPCDS_TARGTE", "cpcds.toml:3"]


def _said_of(toml, **flags):
    Path("cpcds.toml").write_text(toml)
    with pytest.raises(MappingError) as raised:
        read_settings(None, **flags)
    return [each.sentence for each in raised.value.every]


@pytest.mark.parametrize(*table(__file__, "wrong_values"))
def test_a_wrong_value_is_answered_with_what_the_setting_may_be(toml, said):
    (sentence,) = _said_of(toml)
    assert sentence.startswith("cpcds.toml:1: setting ")
    assert said in sentence


@pytest.mark.parametrize(*table(__file__, "wrong_variables"))
def test_a_wrong_value_of_a_variable_is_answered_likewise(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    (sentence,) = _said_of("")
    assert sentence.startswith(f"{name}: setting ")
    assert said in sentence


def test_mistakes_of_variables_and_of_the_file_are_told_together_and_hold_no_value(monkeypatch):
    monkeypatch.setenv("CPCDS_MAPPINGS", "s3cret")
    monkeypatch.setenv("CPCDS_SERVE__LOG", "s3cret")
    said = _said_of("id_key = ['s3cret']\nlimits.fewer_rows = 's3cret'\n")
    assert sorted(sentence.partition(" ")[0] for sentence in said) == [
        "CPCDS_MAPPINGS:",
        "CPCDS_SERVE__LOG:",
        "cpcds.toml:1:",
        "cpcds.toml:2:",
    ]
    assert "s3cret" not in str(said)


def test_every_setting_can_be_said_to_be_wrong():
    """No declared type is without words, whatever is given in its place."""
    names = list(setting_names())
    assert len(names) > 90
    said = [_said_of(f"{name} = [[[1979-05-27]]]\n")[0] for name in names]
    assert all(f"setting {name}" in one for name, one in zip(names, said, strict=True))
    assert all(" must be " in one for one in said)


def test_an_option_is_named_where_it_gave_the_value():
    assert _said_of("", serve={"port": -1}, target=7) == [
        "--to or TARGET: setting target must be text; put it in quotes",
        "--port: setting serve.port must be a whole number from 0 to 65535; "
        "leave it out for the default, 8000",
    ]
    Path("cpcds.toml").write_text("serve.base_url = 'http://a'")
    given = {"base_url": "http://b"}
    assert read_settings(None, serve=given).origin("serve", "base_url") == "--base-url"
    assert read_settings(None).origin("serve", "base_url") == "cpcds.toml:1"


def test_a_file_that_is_not_utf_8_is_said_to_be_so():
    Path("cpcds.toml").write_bytes(b"target = '\xff'")
    with pytest.raises(MappingError) as raised:
        read_settings(None)
    assert str(raised.value) == "cpcds.toml: not UTF-8 at byte 10; write it as UTF-8 [config-file]"
