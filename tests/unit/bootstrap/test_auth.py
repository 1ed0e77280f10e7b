"""Settings into the authorization server."""

import pytest

from etl.auth.rate_limits import RATES
from etl.bootstrap import auth
from etl.bootstrap.settings import read_settings
from etl.errors import MappingError
from tests.e2e.commands import SAMPLES
from tests.given.tables import table
from tests.unit.gateway import trees

MEMBERS = SAMPLES / "member.csv"


def settings(folder, **auth):
    given = {"mode": "sandbox", "database": f"sqlite:///{folder / 'auth.db'}", **auth}
    return read_settings(None, auth=given)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_everything_is_made_ready_before_the_workers_start(tmp_path):
    prepared = auth.prepared(settings(tmp_path))
    kept = tmp_path / "auth.db.secret"
    assert prepared.auth.secret.get_secret_value() == kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0
    assert auth.prepared(settings(tmp_path)).auth.secret == prepared.auth.secret
    services = auth.opened(prepared, "https://api.example")
    assert services.keys.key_set()["keys"]
    assert services.configuration.sandbox
    services.trail.close()
    services.database.close()


def test_sample_members_get_names_to_sign_in_with_and_the_ids_they_are_published_under(tmp_path):
    members = auth.demo_members(settings(tmp_path), MEMBERS)
    names = [member.username for member in members]
    assert len(names) == len(set(names)) >= 10
    assert all(name.isascii() and name.isalnum() and name == name.lower() for name in names)
    assert {"ana", "jurgen", "lukasz", "soren"} <= set(names)
    assert len({member.patient for member in members}) == len(members)
    assert all(len(member.patient) == 32 for member in members)


@pytest.mark.slow
def test_a_member_is_published_whose_patient_the_served_release_has():
    is_published = auth.published_in(trees.opened(trees.sample_tree()).releases)

    async def ask(patient):
        return await is_published(patient)

    assert trees.run(ask(trees.busiest()))
    assert not trees.run(ask("a" * 32))


def test_the_id_is_the_one_that_a_run_publishes(tmp_path):
    from etl.mapping.plan import Environment

    one = settings(tmp_path)
    published = Environment(one.payer.id, one.id_key_bytes(), {}, {})
    assert auth.patient_of(one, "HPX87768012700") == published.logical_id(
        "Patient", "HPX87768012700"
    )


def test_two_who_share_a_first_name_are_told_apart(tmp_path):
    file = tmp_path / "member.csv"
    file.write_text(
        "member_id,given_name,family_name,full_name,record_action\n"
        "1,Jo,Park,,A\n2,Jo,Lee,,A\n1,Jo,Park,,A\n3,,,Łukasz Ø,A\n4,Gone,Away,,D\n5,李,王,,A\n"
    )
    members = auth.demo_members(settings(tmp_path), file)
    assert [one.username for one in members] == ["jo", "jo2", "lukasz", "member"]
    assert [one.name for one in members] == ["Jo Park", "Jo Lee", "Łukasz Ø", "李 王"]


@pytest.mark.parametrize("content", ["", "member_id\n", "a,b\n1,2\n", "\udcff"])
def test_a_file_without_members_is_refused(tmp_path, content):
    file = tmp_path / "member.csv"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MappingError, match="demo_members"):
        auth.demo_members(settings(tmp_path), file)
    with pytest.raises(MappingError, match="demo_members"):
        auth.demo_members(settings(tmp_path), tmp_path / "none.csv")


@pytest.mark.parametrize(*table(__file__, "unsafe"))
def test_what_cannot_be_safe_is_refused_before_the_start(tmp_path, given, named):
    (tmp_path / "member.csv").symlink_to(MEMBERS)
    with pytest.raises(MappingError, match=named):
        auth.prepared(settings(tmp_path, **given))


@pytest.mark.parametrize(
    "given",
    [
        {"consent_days": ()},
        {"mode": "on"},
    ],
)
def test_lifetimes_have_limits_that_no_setting_passes(tmp_path, given):
    with pytest.raises(MappingError, match="auth"):
        settings(tmp_path, **given)


def test_plain_http_is_for_loopback_only(tmp_path):
    given = {"mode": "sandbox", "database": f"sqlite:///{tmp_path / 'auth.db'}"}
    for base, fine in (
        ("http://api.example", False),
        ("https://api.example", True),
        ("http://127.0.0.1:8000", True),
    ):
        one = read_settings(None, auth=given, serve={"base_url": base})
        told = [str(error) for error in auth.mistakes_of(one)]
        assert bool(told) != fine
        assert all("https" in each for each in told)


def test_limits_of_endpoints_are_settings(tmp_path):
    prepared = auth.prepared(
        settings(tmp_path, limits={"sign-in": "3/minute", "token": "", "link": "2/hour"})
    )
    services = auth.opened(prepared, "https://api.example")
    try:
        set_here = {"sign-in": "3/minute", "token": "", "link": "2/hour"}
        assert services.limits.rates == {**RATES, **set_here}
    finally:
        services.trail.close()
        services.database.close()


@pytest.mark.parametrize(*table(__file__, "limits"))
def test_a_limit_that_is_none_is_refused_at_the_start(tmp_path, limits, says):
    with pytest.raises(MappingError, match=says):
        auth.prepared(settings(tmp_path, limits=limits))
