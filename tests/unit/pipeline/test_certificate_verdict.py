"""What a certificate decides about a run: differences are a limit, wrong readers are not."""

from decimal import Decimal

import pytest

from etl.certificate.certificate import Certificate
from etl.certificate.differences import Differences, FactDifference
from etl.pipeline.certificate import verdict
from etl.quality.totals.limits import refusal

LATER = FactDifference("claim", 0, 7, "paid")
FILES = ("claim.csv",)


def decide(certificate, allowed):
    return verdict(certificate, {}, FILES, Decimal(allowed))


@pytest.mark.parametrize(("allowed", "holds"), [(0, False), (1, False), (2, True), (3, True)])
def test_as_many_differences_as_the_limit_allows_may_be_published(allowed, holds):
    found = decide(Certificate(facts=9, unexplained=2, first=LATER), allowed)
    assert (found.holds, found.allowed, found.found) == (holds, str(allowed), "2")
    assert "2 of 9 facts" in found.sentence
    assert "claim.csv, row 7" in found.sentence


def test_the_message_names_the_setting_that_allows_the_differences_once():
    message = refusal([decide(Certificate(facts=9, unexplained=2, first=LATER), 0)])
    assert message.endswith("CPCDS_LIMITS__CERTIFICATE=2.")


@pytest.mark.parametrize("fact", ["member", "without a row", "amount in a view without money"])
def test_no_setting_shows_somebody_the_data_of_another(fact):
    differences = Differences({})
    differences.add("claim", (0, 7), "paid")
    differences.add("claim", (0, 8), fact)
    counts = {"unexplained": differences.count, "exposing": differences.exposing}
    found = decide(Certificate(facts=9, first=LATER, **counts), 1000)
    assert not found.holds
    assert refusal([found]).endswith("no setting allows this.")
