"""The first screen answers what an auditor asks, in the figures of `report.json`."""

import html
import json
import re
from dataclasses import replace
from datetime import date
from importlib.resources import files

import pytest

from etl.columns.numbers import cents_text
from etl.mapping.coverage import ElementCoverage, ProfileCoverage
from etl.model.severity import Severity
from etl.publish.manifest import ChangeCounts, Changes
from etl.quality.totals.counts import RowCounts
from etl.reports.document import report_document, write_report
from etl.reports.finding_places import ShownPlace
from etl.reports.page import report_page, rule_page
from etl.reports.report_values import MissingCells, ReleaseBefore, Unmapped
from etl.reports.summary import totals_of
from tests.unit.quality.world import run, standard_book, world
from tests.unit.reports.test_report import report, spoiled, tally_of

QUESTIONS = ("how-many", "why", "cents", "changed", "missing", "current")


def answers(page):
    """Return the answers of a page: the id of a question → its text."""
    sections = re.findall(
        r'<section aria-labelledby="([^"]+)"[^>]*>(.*?)</section>', page, re.DOTALL
    )
    return {
        name: " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split())
        for name, text in sections
    }


def shown(made):
    document = report_document(made)
    return document, answers(report_page(document))


CHANGES = Changes(
    ChangeCounts(1, 2, 3),
    {"ExplanationOfBenefit": ChangeCounts(40, 5, 6), "Patient": ChangeCounts()},
)


def before(document, changes=CHANGES):
    return ReleaseBefore("release-6", changes, document)


def test_all_questions_are_answered_in_their_order():
    _, told = shown(report())
    assert tuple(told) == QUESTIONS
    assert all(told.values())


def test_claims_in_published_and_rejected_stand_with_shares_that_sum_to_100():
    document, told = shown(report())
    claims = document["tables"]["claim"]
    assert (claims["in"], claims["published"], claims["quarantined"]) == (6, 5, 1)
    assert "1 of 6 claims (16.7 %)" in told["how-many"]
    assert "claims that came in 6 100 %" in told["how-many"]
    assert "published 5 83.3 %" in told["how-many"]


def test_first_causes_sum_to_the_quarantine_and_lead_to_their_rule_and_places():
    document = report_document(report())
    page = report_page(document)
    told = answers(page)["why"]
    rows = sum(each["quarantined"] for each in document["tables"].values())
    claims = document["tables"]["claim"]["quarantined"]
    assert f"everything in quarantine {claims} {rows}" in told
    for each in document["rules"]:
        if each["rejected_rows"]:
            path = f"rules/{each['rule']}.html"
            assert each["page"] == path
            assert f'href="{path}"' in page
            assert f'href="{path}#places"' in page


def test_the_rows_of_more_than_five_causes_sum_up_as_well():
    made = report()
    first, *others = [each for each in made.rules if each.rejected_rows]
    rest = first.rejected_rows - 6
    causes = [
        replace(first, rule=f"rule-{n}", rejected_rows=rest if not n else 1, rejected_claims=not n)
        for n in range(7)
    ]
    _, told = shown(replace(made, rules=(*causes, *others)))
    numbers = [
        tuple(map(int, pair)) for pair in re.findall(r"(?:rule-\d|rules?) (\d+) (\d+)", told["why"])
    ]
    [total] = re.findall(r"everything in quarantine (\d+) (\d+)", told["why"])
    assert len(numbers) == 6
    assert [sum(column) for column in zip(*numbers, strict=True)] == [int(each) for each in total]


def test_every_cent_is_accounted_for_with_the_number_of_sums_compared():
    document, told = shown(report())
    compared = document["money_check"]["compared"]
    assert compared == len(document["money"])
    assert f"Yes: {compared} sums compared, each agrees to the cent" in told["cents"]


def test_a_first_release_is_compared_with_nothing():
    document, told = shown(report())
    assert document["changes"] is None
    assert "This is the first release" in told["changed"]


def test_changes_since_the_release_before_name_new_rules_and_new_words():
    earlier = report_document(report(tally_of([run(world())])))
    earlier["unmapped"] = [{"crosswalk": "gender", "word": "aa"}]
    words = (
        Unmapped("gender", 3, word="aa"),
        Unmapped("gender", 1, word="bb"),
        Unmapped("race", 2, word="cc"),
    )
    document, told = shown(replace(report(), unmapped=words, previous=before(earlier)))
    changes = document["changes"]
    assert changes["since"] == "release-6"
    assert "Members: 1 added, 2 changed, 3 retracted" in told["changed"]
    assert "Claims: 40 added, 5 changed, 6 retracted" in told["changed"]
    fired = {each["rule"] for each in document["rules"] if each["findings"]}
    assert set(changes["new_rules"]) == fired
    assert len(fired) > 5
    assert sum(f"{rule} " in told["changed"] for rule in fired) == 5
    assert f"and {len(fired) - 5} more" in told["changed"]
    page = report_page(document)
    everything = page[page.index('id="new"') :].partition("</p>")[0]
    assert all(f">{rule}</a>" in everything for rule in fired)
    assert changes["new_unmapped"] == [
        {"crosswalk": "gender", "words": 1},
        {"crosswalk": "race", "words": 1},
    ]
    assert "New unmapped words: 1 of gender , 1 of race ." in told["changed"]
    assert changes["resources"] == {
        "ExplanationOfBenefit": {"added": 40, "changed": 5, "retracted": 6}
    }


def test_what_was_there_the_night_before_is_not_new():
    made = replace(report(), unmapped=(Unmapped("gender", 3, word="aa"),))
    document, told = shown(replace(made, previous=before(report_document(made))))
    assert document["changes"]["new_rules"] == document["changes"]["new_unmapped"] == []
    assert "Rules with findings that had none before: none." in told["changed"]
    assert "New unmapped words: none." in told["changed"]


def test_words_of_a_report_without_hashes_are_compared_by_their_number():
    earlier = report_document(report())
    earlier["unmapped"] = [{"crosswalk": "gender"}, {"crosswalk": "gender"}]
    words = tuple(Unmapped("gender", 1, word=word) for word in ("aa", "bb", "cc"))
    document, _ = shown(replace(report(), unmapped=words, previous=before(earlier)))
    assert document["changes"]["new_unmapped"] == [{"crosswalk": "gender", "words": 1}]


def test_a_report_of_the_release_before_that_is_gone_is_said_to_be():
    document, told = shown(replace(report(), previous=before(None)))
    assert document["changes"]["new_rules"] is document["changes"]["new_unmapped"] is None
    assert "rules and words were not compared" in told["changed"]
    assert document["changes"]["money"] == []


def test_a_stopped_run_names_the_rules_that_newly_fire():
    earlier = report_document(report(tally_of([run(world())])))
    document, told = shown(replace(report(), release=None, previous=before(earlier, None)))
    assert document["changes"]["members"] is None
    assert document["changes"]["money"] == []
    assert "Nothing that members see" in told["changed"]
    assert document["changes"]["new_rules"]


def money_of(made, *, small_cells, touched):
    changes = Changes(ChangeCounts(1), {"ExplanationOfBenefit": ChangeCounts(touched)})
    earlier = report_document(replace(made, small_cells=small_cells))
    for each in earlier["money_totals"]:
        each["net"] = each["net"] and "1.00"
    now = replace(made, small_cells=small_cells, previous=before(earlier, changes))
    return report_document(now)["changes"]["money"]


def test_money_is_compared_net_and_to_the_cent():
    money = money_of(report(), small_cells=0, touched=1)
    [benefit] = [each for each in money if each["category"] == "benefit"]
    sums = {"before": "1.00", "now": "-1.00", "change": "-2.00"}
    assert benefit == {"level": "header", "category": "benefit", **sums}


def test_the_money_that_few_claims_changed_is_withheld():
    made = report()
    for touched, is_shown in ((10, False), (11, True), (0, True)):
        money = money_of(replace(made, money={}), small_cells=10, touched=touched)
        assert money == []
        key = next(iter(made.money))
        whole = replace(made.money[key], published_claims=99, net_claims=99)
        some = {replace(key, level="claim", category="benefit"): whole}
        [each] = money_of(replace(made, money=some), small_cells=10, touched=touched)
        assert (each["change"] is not None) is (each["before"] is not None) is is_shown
        assert each["now"] == cents_text(whole.net), "as in the report's other tables"


def test_a_sum_that_did_not_change_says_so_whatever_the_number_of_claims():
    made = replace(report(), small_cells=0)
    changes = Changes(ChangeCounts(1), {"ExplanationOfBenefit": ChangeCounts(1)})
    document = report_document(replace(made, previous=before(report_document(made), changes)))
    money = document["changes"]["money"]
    assert money
    assert all(each["before"] == each["now"] and each["change"] == "0.00" for each in money)
    assert report_page(document).count('<td class="n">no change</td>') == len(money)


def test_a_stopped_run_names_the_release_that_limits_compare_it_with():
    stopped = replace(report(), release=None, previous=before(report_document(report()), None))
    page = report_page(report_document(stopped))
    assert "There is nothing to compare with" not in page
    assert 'Members still see release <code>release-6</code>. <a href="#limits">' in page
    assert '<th class="n">accepted</th>' in page
    assert '<th class="n">published</th>' not in page


def test_money_is_that_of_lines_where_totals_are_summed_from_them():
    summed = replace(report().rules[0], rule="totals-summed", findings=3)
    made = replace(report(), small_cells=0, rules=(*report().rules, summed))
    lines = {key: sums for key, sums in made.money.items() if key.level == "claim_line"}
    assert lines
    page = report_page(report_document(made))
    assert "<th>Claim lines</th>" in page
    now = replace(made, previous=before(report_document(made)))
    money = report_document(now)["changes"]["money"]
    assert {each["level"] for each in money} == {"lines"}
    net = sum(sums.net for key, sums in lines.items() if key.category == "submitted")
    assert totals_of(made).money.net["submitted"] == cents_text(net)


def test_required_cells_that_are_missing_are_counted_by_column():
    missing = tuple(MissingCells("required", "claim", f"column_{n}", 9 - n) for n in range(7))
    required = replace(report().rules[0], rule="required")
    document, told = shown(replace(report(), rules=(*report().rules, required), missing=missing))
    assert "42 required values missing" in told["missing"]
    assert "claim.column_0 9 required" in told["missing"]
    assert "2 more columns" in told["missing"]
    assert document["missing"][0] == {
        "rule": "required",
        "table": "claim",
        "column": "column_0",
        "cells": 9,
    }
    _, none = shown(report())
    assert "No: no required value is missing" in none["missing"]


def test_how_old_the_extract_is_stands_on_the_page():
    _, told = shown(report())
    assert "As of 2026-11-23, 1 day before this run" in told["current"]


@pytest.mark.parametrize(
    ("as_of", "judged"), [("2026-11-21", "good"), ("2026-11-20", "odd"), ("2026-11-17", "bad")]
)
def test_an_extract_too_old_for_the_day_that_cms_allows_is_marked(as_of, judged):
    extract = replace(report().extract, as_of=date.fromisoformat(as_of))
    page = report_page(report_document(replace(report(), extract=extract)))
    assert f'<p class="answer {judged}">As of {as_of}' in page
    assert ("are not visible yet" in page) is (judged != "good")
    unsaid = report()
    _, told = shown(replace(unsaid, extract=replace(unsaid.extract, as_of=None)))
    assert "does not give its date" in told["current"]


def test_each_rule_that_found_something_has_a_page_with_its_places(tmp_path):
    made = report()
    places = {"amount-unreadable": [ShownPlace("file-6.csv", 4, "claim", "amount_copay")]}
    write_report(made, tmp_path, places)
    document = report_document(made)
    pages = {each["page"] for each in document["rules"] if each["page"]}
    assert pages == {f"rules/{path.name}" for path in (tmp_path / "rules").iterdir()}
    page = (tmp_path / "rules" / "amount-unreadable.html").read_text("utf-8")
    assert "<td>file-6.csv</td>" in page
    assert "All 1 place." in page
    assert "default-src 'none'" in page


def test_the_page_of_a_rule_with_many_places_leads_to_all_of_them():
    document = report_document(replace(report(), findings_file="findings.csv.gz"))
    rule = {**document["rules"][0], "findings": 5000}
    page = rule_page(
        document, rule, [ShownPlace("a.csv", row, "claim", "") for row in range(2, 12)]
    )
    assert "The first 10 of 5,000 places" in page
    assert 'href="../findings.csv.gz"' in page
    assert "cpcds explain TARGET --row a.csv:2" in page
    assert "more</summary>" not in page
    many = rule_page(
        document, rule, [ShownPlace("my claims.csv", row, "t", "") for row in range(2, 54)]
    )
    assert "<summary>2 more</summary>" in many
    assert "--row &#39;my claims.csv:53&#39;" in many
    of_no_release = rule_page(
        {**document, "release": None}, rule, [ShownPlace("a.csv", 2, "t", "")]
    )
    assert "cpcds explain" not in of_no_release
    of_a_file = rule_page(document, rule, [ShownPlace("a.csv", None, "t", "")])
    assert "cpcds explain" not in of_a_file


def test_what_is_folded_is_printed():
    page = report_page(report_document(report(tally_of([run(spoiled())]))))
    assert "details::details-content { content-visibility: visible" in page
    assert 'content: "Page " counter(page) " of " counter(pages)' in page
    assert f'@bottom-left {{ content: "Run {report().run}";' in page


def test_the_report_of_a_directory_speaks_of_rows_and_of_neither_claims_nor_members():
    made = report()
    counts = {
        "location": RowCounts(rows_in=9, published=6, quarantined=1, superseded=0, withdrawn=2),
        "network": RowCounts(rows_in=3, published=3, quarantined=0, superseded=0),
    }
    document = report_document(replace(made, counts=counts, money={}, filled={}))
    page = report_page(document)
    told = answers(page)
    assert tuple(told) == ("how-many", "why", "accounts", "changed", "missing", "current")
    assert "How many rows were rejected? 1 of 12 rows (8.3 %)" in told["how-many"]
    assert "published 9 75.0 %" in told["how-many"]
    assert "withdrawn: not in force 2 16.7 %" in told["how-many"]
    assert "first cause rows where" in told["why"]
    assert not [text for text in told.values() if re.search("claim|member", text)]
    assert 'href="#money"' not in page
    rule = next(each for each in document["rules"] if each["rejected_rows"])
    rejecting = {
        **rule,
        **dict.fromkeys(("severity", "default_severity"), "reject-row"),
        "says": "",
        "spoils": "",
        "tables": {},
    }
    assert "claim" not in rule_page(document, rejecting, ())


def test_must_support_elements_are_counted_by_grade_and_each_gap_has_its_reason():
    coverage = (
        ProfileCoverage(
            "C4BB-Patient",
            (
                ElementCoverage("Patient.id", "produced", (), "", 40),
                ElementCoverage("Patient.name", "produced", ("member.name",), "", 20),
                ElementCoverage("Patient.photo", "could be", (), "no row fills member.photo", 0),
                ElementCoverage("Patient.link", "cannot be", (), "the layout has no link", 0),
            ),
            40,
        ),
    )
    document, told = shown(replace(report(), must_support=coverage))
    assert document["must_support"] == [
        {
            "profile": "C4BB-Patient",
            "resources": 40,
            "filled": {"Patient.id": 40, "Patient.name": 20, "Patient.photo": 0, "Patient.link": 0},
            "unfilled": {
                "Patient.photo": {"can_be": True, "reason": "no row fills member.photo"},
                "Patient.link": {"can_be": False, "reason": "the layout has no link"},
            },
        }
    ]
    assert "Of 4 must-support elements" in told["missing"]
    assert "2 are filled, and 1 cannot be filled" in told["missing"]
    assert "1 could be filled, but is always empty." in told["missing"]
    page = report_page(document)
    assert "Patient (40): 1 in every resource, 1 in half or more, 1 in none, but possible" in page
    assert "the layout has no link" in page
    assert ">50.0 %</td>" in page


def test_warnings_are_on_the_first_screen_new_ones_first_and_beside_the_cents():
    usual, other = (
        replace(report().rules[0], rule=name, severity=Severity.WARN, findings=findings)
        for name, findings in (("usual", 90), ("total-of-lines", 3))
    )
    made = replace(report(), rules=(*report().rules, usual))
    earlier = report_document(made)
    made = replace(made, rules=(*made.rules, other), previous=before(earlier, Changes()))
    page = report_page(report_document(made))
    first_screen, cents = page.partition('<div class="answers">')[::2]
    listed = first_screen.partition("#warnings")[2]
    assert listed.index("(new, 3)") < listed.index("(90)")
    assert "But in 3 rows: " in cents.partition('id="cents"')[2].partition("</section>")[0]


def test_the_page_names_rules_about_amounts_that_exist():
    template = files("etl.reports") / "pages" / "report.html.j2"
    (listed,) = re.findall(r"set disagreeing = (\[.*?\])", template.read_text("utf-8"))
    assert set(json.loads(listed)) <= {rule.id for rule in standard_book().rules}
