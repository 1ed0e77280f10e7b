"""What the operator does about developers from the command line."""

import json

from etl.bootstrap import auth
from etl.bootstrap.settings import read_settings
from tests.e2e.commands import cpcds, done


def test_accounts_are_listed(tmp_path):
    configuration = tmp_path / "cpcds.toml"
    configuration.write_text(
        f'[auth]\nmode = "sandbox"\naudit = "{tmp_path / "audit"}"\n'
        f'database = "sqlite:///{tmp_path / "auth.db"}"\n'
    )
    assert "no accounts" in done(cpcds("--config", configuration, "developers", "list")).out
    services = auth.opened(read_settings(configuration), "http://127.0.0.1")
    services.developers.sign_in("dana@lens.example")
    services.trail.close()
    services.database.close()
    listed = done(cpcds("--config", configuration, "developers", "list", "--json")).out
    (account,) = json.loads(listed)
    assert account["email"] == "dana@lens.example"
    assert account["apps"] == 0
