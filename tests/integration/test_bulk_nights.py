"""Bulk files of whole nights: a consumer who follows them has what readers see."""

from dataclasses import replace
from pathlib import Path

import pytest

from etl.bootstrap import releases, use_cases
from etl.publish.bulk_pages import ROOT
from etl.publish.verify import verify
from tests.integration.nights import delta, full
from tests.unit.publish.bulk_consumer import Consumer
from tests.unit.publish.test_bulk import everything


@pytest.mark.slow
@pytest.mark.parametrize(
    "every",
    [
        pytest.param(2, id="many snapshots"),
        pytest.param(30, id="one snapshot"),
    ],
)
def test_who_follows_full_nights_deltas_and_a_rollback_has_what_readers_see(payer, extracts, every):
    payer.changed = {"publish": {"deltas": True}}
    options = replace(use_cases.bulk_options(payer.settings), snapshot_every=every)
    for module in (use_cases, releases):
        payer.patch.setattr(module, "bulk_options", lambda _: options)

    def get(url):
        return Path(url.removeprefix("file://")).read_bytes()

    root = f"file://{payer.target}/{ROOT}"
    follower, late = Consumer(root, get), Consumer(root, get)
    payer.begin(full(extracts / "full0", 0))
    first = payer.release.id
    follower.update()
    for extract in (delta(extracts / "delta1", 1), full(extracts / "full2", 2)):
        payer.run(extract)
        follower.update()
        assert follower.resources == everything(payer.release)
    releases.roll_back(payer.settings, first)
    releases.resume_target(payer.settings)
    follower.update()
    assert follower.resources == everything(payer.release)
    payer.run(delta(extracts / "delta1", 1))
    for one in (follower, late):
        one.update()
        assert one.resources == everything(payer.release)
    assert verify(payer.release).ok
