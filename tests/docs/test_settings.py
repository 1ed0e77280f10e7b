"""Examples of configurations in the pages can be read, and every setting says what it means."""

import re
import tomllib

import pytest

from etl.bootstrap.settings import read_settings, setting_names
from tests.docs.pages import page


def test_every_setting_has_a_meaning():
    assert [name for name, meaning in setting_names().items() if not meaning] == []


@pytest.mark.parametrize("name", ["README.md", "docs/operating.md", "docs/serving.md"])
def test_an_example_is_a_configuration(name, tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", page(name), re.DOTALL)
    (tmp_path / "cpcds.toml").write_text(example)
    settings = read_settings(tmp_path / "cpcds.toml")
    parts = tomllib.loads(example)
    assert settings.payer.name == parts.get("payer", {}).get("name", settings.payer.name)
