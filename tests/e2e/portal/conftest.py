"""A served sandbox, and real Chromium to look at it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.e2e.portal.standing import Standing, publish, publish_directory, stand_up

CHROMIUM: Final = "/usr/bin/chromium"


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_directory(tmp_path_factory.mktemp("published-directory"))


@pytest.fixture(scope="session")
def sandbox(
    target: Path, directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standing]:
    """Claims and a provider directory, as `make sandbox` serves them."""
    with stand_up(target, tmp_path_factory.mktemp("sandbox"), directory) as standing:
        yield standing


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests in a browser as slow: `make` installs none, and a start takes a second."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium, for one module: while it runs, no other test of this thread can use asyncio."""
    if not shutil.which(CHROMIUM):
        pytest.skip(f"{CHROMIUM} is not there: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, sandbox: Standing) -> Iterator[Page]:
    """A page of a browser that has been nowhere."""
    with chromium.new_context(base_url=sandbox.base, viewport={"width": 1280, "height": 900}) as it:
        yield it.new_page()


@pytest.fixture
def scriptless(chromium: Browser, sandbox: Standing) -> Iterator[Page]:
    """The same without JavaScript."""
    with chromium.new_context(base_url=sandbox.base, java_script_enabled=False) as it:
        yield it.new_page()
