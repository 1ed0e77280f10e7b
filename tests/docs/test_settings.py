"""docs/configuration.md lists the settings that there are, with their defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from etl.bootstrap.settings import Settings, read_settings, setting_names
from tests.docs.pages import page, rows

PAGE = page("docs/configuration.md")
LISTED = {
    cells[0].strip("`"): cells for cells in rows(PAGE) if re.fullmatch(r"`[a-z_.]+`", cells[0])
}
SECRETS = {
    "id_key", "serve.cursor_key", "serve.log_key", "auth.secret", "auth.oidc_client_secret",
    "auth.registration_token", "auth.smtp_password", "lineage.api_key",
}  # fmt: skip
IN_WORDS = {"", None, (), 0}
"""Defaults that the page may put into words: empty, none, as AWS does it."""


def default(name: str) -> Any:
    value: Any = Settings.model_construct()
    for part in name.split("."):
        value = getattr(value, part)
    return value


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(LISTED) == set(setting_names())


@pytest.mark.parametrize("name", sorted(set(setting_names()) - SECRETS))
def test_a_setting_is_listed_with_its_default(name: str) -> None:
    value = default(name)
    if isinstance(value, dict) or value in IN_WORDS:
        assert LISTED[name][1]
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert LISTED[name][1] == f"`{text}`"


def test_every_setting_has_a_meaning() -> None:
    assert {len(cells) for cells in LISTED.values()} == {3}
    assert [name for name, cells in LISTED.items() if not cells[2]] == []


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "cpcds.toml").write_text(example)
    settings = read_settings(tmp_path / "cpcds.toml")
    assert settings.payer.name == tomllib.loads(example)["payer"]["name"]


def test_the_readme_shows_a_configuration(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", page("README.md"), re.DOTALL)
    (tmp_path / "cpcds.toml").write_text(example)
    assert read_settings(tmp_path / "cpcds.toml").limits.rejected_claims == 0.01


def test_a_variable_is_named_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "`payer.id` is `CPCDS_PAYER__ID`" in PAGE
    monkeypatch.setenv("CPCDS_PAYER__ID", "acme")
    monkeypatch.setenv("CPCDS_MAPPINGS", '["own"]')
    settings = read_settings(None)
    assert (settings.payer.id, settings.mappings) == ("acme", (Path("own"),))
