"""A served sandbox, and real Chromium to look at it with."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tests.e2e.commands import SAMPLES, cpcds, done
from tests.e2e.portal.standing import publish, stand_up
from tests.unit.gateway.trees import LISTED, sample_tree

CHROMIUM = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def target(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def formulary(tmp_path_factory):
    """A target with the samples of drug formularies."""
    target = tmp_path_factory.mktemp("formulary") / "target"
    done(cpcds("run", SAMPLES / "formulary", "--to", target))
    return target


@pytest.fixture(scope="session")
def sandbox(target, formulary, tmp_path_factory):
    """Claims and public data, as `make sandbox` serves them."""
    folder = tmp_path_factory.mktemp("sandbox")
    with stand_up(target, folder, sample_tree(LISTED), formulary) as standing:
        yield standing


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in a browser as slow: `make` installs none, and a start takes a second."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def chromium():
    """Chromium, for one module: while it runs, no other test of this thread can use asyncio."""
    if not shutil.which(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, sandbox):
    """A page of a browser that has been nowhere."""
    with chromium.new_context(base_url=sandbox.base, viewport={"width": 1280, "height": 900}) as it:
        yield it.new_page()


@pytest.fixture
def scriptless(chromium, sandbox):
    """The same without JavaScript."""
    with chromium.new_context(base_url=sandbox.base, java_script_enabled=False) as it:
        yield it.new_page()
