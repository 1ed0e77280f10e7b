"""The report reconciles, is the same every time, shows no value and loads nothing."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path

import pyarrow as pa
import pytest

from etl.model.severity import Severity
from etl.pipeline.totals import Tally
from etl.publish.run_reports import REPORT_FORMAT
from etl.quality.rules.book import Limits
from etl.quality.totals.counts import CountsDoNotAddUp, RowCounts
from etl.quality.totals.limits import verdicts
from etl.quality.totals.money import MoneyKey, MoneyTotals
from etl.reports.document import report_document, report_json, write_report
from etl.reports.page import _money_text, report_page
from etl.reports.report_values import (
    Example,
    ExtractFacts,
    ExtractFile,
    MappingFacts,
    QuarantineFile,
    Report,
    SuiteLine,
    Unmapped,
)
from etl.reports.summary import totals_of
from etl.rows import FINDINGS_SCHEMA
from tests.unit.quality.world import book, run, standard_book, world

WHEN = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
MARK = "ZZSECRETZZ"
FILES = tuple(ExtractFile(f"file-{n}.csv", 10 * n, 0, f"{n:064x}") for n in range(17))


def spoiled():
    of = world()
    of["member"][0] |= {"family_name": MARK, "gender": MARK}
    of["claim"][2] |= {"amount_copay": MARK}
    of["claim"][3] |= {"amount_benefit": "-1.00", "status": MARK}
    of["claim_line"][4] |= {"revenue_code": "450"}
    of["claim_line"].append(dict(of["claim_line"][1]))
    return of


def tally_of(parts):
    tally = Tally()
    for part in parts:
        tally.add(part)
    return tally


def report(tally=None, limits=None):
    tally = tally or tally_of([run(spoiled())])
    return Report(
        run="run-7",
        release="release-7",
        parent=None,
        when=WHEN,
        program="cpcds-bluebutton 0.1.0",
        extract=ExtractFacts("cpcds", "full", date(2026, 11, 23), "Plan & <Sons>", FILES),
        mapping=MappingFacts("c4bb", "2.2.0", "ab" * 32, ("C4BB-Patient|2.2.0",)),
        counts=tally.counts,
        rules=tally.rules(standard_book()),
        rules_looked_at=len(standard_book().rules),
        verdicts=verdicts(limits or Limits(), tally.counts, tally.findings_of),
        money=tally.money,
        resources={"Patient": 2, "ExplanationOfBenefit": 5},
        filled=tally.filled,
        unmapped=(Unmapped("gender", 1, (Example(0, 2),)),),
        suites=(SuiteLine("claim", 7, 6, 90, 88, "data-docs/claim.html"),),
        quarantine=(QuarantineFile("file-6.csv", 1, "../quarantine/file-6.csv"),),
        data_docs="data-docs/index.html",
    )


def page_of(told):
    return report_page(report_document(told))


def test_report_json_is_what_its_page_of_documentation_lists():
    told = report_document(report())
    page = (Path(__file__).parents[3] / "docs" / "reports.md").read_text("utf-8")
    listed = re.search(r"\| key \| meaning \|\n(.*?)\n\n", page, re.DOTALL)
    assert listed
    keys = [
        key
        for line in listed[1].splitlines()[1:]
        for key in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(keys) == sorted(told)
    assert f'format `"{REPORT_FORMAT}"`' in page
    for key in ("limits", "rules", "money", "completeness", "unmapped", "suites", "quarantine"):
        line = next(line for line in listed[1].splitlines() if line.startswith(f"| `{key}`"))
        for inner in told[key][0] if told[key] else ():
            assert f"`{inner}`" in line, (key, inner)


def test_counts_and_money_are_those_of_the_run():
    told = report_document(replace(report(), small_cells=0))
    assert told["tables"]["claim"] == {
        "in": 6,
        "published": 5,
        "quarantined": 1,
        "superseded": 0,
        "adds_up": True,
    }
    assert told["tables"]["claim_line"]["superseded"] == 1
    cell = {"level": "header", "claim_type": "professional", "category": "submitted"}
    [money] = [each for each in told["money"] if cell.items() <= each.items()]
    assert money["source"] == "100.00"
    assert money["published"] == "0.00"
    assert money["quarantined"] == "100.00"
    [negative] = [each for each in told["money"] if each["category"] == "benefit"]
    assert negative["published"] == "-1.00"
    assert list(told["tables"])[:3] == ["member", "member_address", "member_telecom"]


def test_rows_lost_to_each_rule_sum_to_the_quarantine():
    told = report_document(report())
    lost = sum(each["rejected_rows"] for each in told["rules"])
    assert lost == sum(each["quarantined"] for each in told["tables"].values())
    [amount] = [each for each in told["rules"] if each["rule"] == "amount-unreadable"]
    assert amount["rejected_rows"] == 8
    assert amount["examples"] == [{"file": "file-6.csv", "row": 4, "column": "amount_copay"}]
    assert told["rules"][0]["rule"] == "amount-unreadable"


def test_completeness_lists_the_columns_that_carry_elements():
    told = report_document(report())["completeness"]
    by_column = {(each["table"], each["column"]): each for each in told}
    assert by_column["member", "birth_date"]["filled"] == 2
    assert by_column["member", "birth_date"]["required"]
    assert by_column["member", "birth_date"]["map_ids"] == [70]
    assert by_column["claim", "admission_date"] | {"map_ids": 0} == {
        "table": "claim",
        "column": "admission_date",
        "map_ids": 0,
        "required": False,
        "filled": 1,
        "of": 5,
        "previous": None,
        "by_claim_type": [
            {
                "claim_type": claim_type,
                "filled": claim_type == "inpatient",
                "of": 1,
                "previous": None,
            }
            for claim_type in ("inpatient", "outpatient", "vision", "oral", "pharmacy")
        ],
    }
    assert ("member", "phone") not in by_column


def test_a_lost_cent_or_row_keeps_the_report_from_being_written(tmp_path):
    good = report()
    key = MoneyKey("claim", "oral", "submitted")
    short = replace(good, money={**good.money, key: MoneyTotals(100, 99, 0, 0)})
    with pytest.raises(CountsDoNotAddUp, match="claim, oral, submitted: what came in") as lost_cent:
        write_report(short, tmp_path)
    assert "0.99" not in str(lost_cent.value), "it may be one claim's"
    lost = replace(good, counts={**good.counts, "claim": RowCounts(6, 5, 0, 0)})
    with pytest.raises(CountsDoNotAddUp, match="table claim"):
        write_report(lost, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_order_of_partitions_decides_nothing():
    parts = [run(spoiled()), run(world()), run(spoiled())]
    told = [report_document(report(tally_of(order))) for order in permutations(parts)]
    assert len({(report_json(one), report_page(one)) for one in told}) == 1


def negative_amounts(rows):
    """Return findings in some rows of a file of claims."""
    columns = [[one] * len(rows) for one in ("amount-negative", "claim", 6)]
    return pa.table([*columns, list(rows), ["amount_copay"] * len(rows)], schema=FINDINGS_SCHEMA)


def test_examples_are_the_first_places_and_few():
    tally = Tally(example_count=3)
    tally.add_findings(negative_amounts(range(5000, 2000, -1)))
    tally.add_findings(negative_amounts([7, 3000, 1]))
    [totals] = tally.rules(standard_book())
    assert [each.row for each in totals.examples] == [1, 7, 2001]
    assert totals.findings == 3003
    assert tally.findings_of == {"amount-negative": 3003}


@pytest.mark.parametrize(("rows", "said"), [(range(1, 2), "1 place<"), (range(1, 3), "2 places<")])
def test_one_place_is_not_places(rows, said):
    tally = Tally(example_count=3)
    tally.add_findings(negative_amounts(rows))
    page = page_of(replace(report(tally), rules=tuple(tally.rules(standard_book()))))
    assert f"<summary>{said}" in page


def test_a_finding_about_a_whole_file_or_the_extract_is_shown_as_such():
    tally = Tally()
    rows = pa.table(
        [["unknown-file", "unknown-column"], ["claim"] * 2, [None, 3], [None, None], [None, None]],
        schema=FINDINGS_SCHEMA,
    )
    tally.add_findings(rows)
    told = report_document(replace(report(), rules=tally.rules(standard_book())))
    assert [each["examples"] for each in told["rules"]] == [
        [{"file": "file-3.csv", "row": None, "column": None}],
        [{"file": None, "row": None, "column": None}],
    ]
    assert "the extract" in page_of(replace(report(), rules=tally.rules(standard_book())))


def test_a_changed_severity_is_shown_beside_the_default():
    strict = book(amount_negative="reject-claim")
    tally = tally_of([run(spoiled(), rules=strict)])
    totals = {each.rule: each for each in tally.rules(strict)}["amount-negative"]
    assert (totals.severity, totals.default) == (Severity.REJECT_CLAIM, Severity.WARN)
    assert "by default warn" in page_of(replace(report(tally), rules=(totals,)))


class Page(HTMLParser):
    """Follows the nesting of tags: a page that is not whole fails."""

    VOID = frozenset({"meta", "br"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.loads = []
        self.links = []
        self.ids = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        told = dict(attrs)
        if tag in ("script", "img", "link", "iframe", "object", "video", "audio", "source"):
            self.loads.append(tag)
        if "src" in told:
            self.loads.append(str(told["src"]))
        if told.get("href"):
            self.links.append(str(told["href"]))
        if told.get("id"):
            self.ids.append(str(told["id"]))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing():
    page = Page()
    page.feed(page_of(report()))
    page.close()
    assert page.open == []
    assert page.loads == []
    assert not [link for link in page.links if re.match(r"[a-z]+:|//", link)]
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert {"data-docs/index.html", "../quarantine/file-6.csv", "report.json"} <= set(page.links)


def test_nothing_shows_a_value_of_a_member(tmp_path):
    for path in write_report(report(), tmp_path):
        assert MARK not in path.read_text("utf-8")
    assert MARK not in repr(totals_of(report()))


def test_names_from_outside_cannot_break_out_of_the_page():
    page = page_of(report())
    assert "Plan &amp; &lt;Sons&gt;" in page
    assert "<Sons>" not in page


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, "Published as release"),
        ({"release": None}, "Checked only."),
        ({"parent": "release-6"}, "The previous release was"),
    ],
)
def test_the_page_says_first_what_became_of_the_run(change, told):
    assert told in page_of(replace(report(), **change))


def test_a_broken_limit_is_the_first_thing_to_read():
    limits = Limits(rejected_claims=Decimal("0.01"))
    stopped = replace(report(limits=limits), release=None)
    page = page_of(stopped)
    assert "Nothing was published: a limit was broken." in page
    assert "1 of 6 claim rows (16.6667 %) are in quarantine; at most 1 % are allowed" in page
    assert report_document(stopped)["stopped"]
    assert totals_of(stopped).broken_limits == tuple(each.sentence for each in stopped.verdicts)
    assert "accepted" in page


def test_a_run_without_faults_says_so():
    clean = report(tally_of([run(world())]))
    page = page_of(replace(clean, unmapped=()))
    assert "No row was rejected." in page
    assert "No warnings." in page
    assert "All words are in their crosswalks." in page


def test_the_summary_has_the_rows_of_the_command_line():
    told = totals_of(report())
    assert tuple(told.tables["claim"].values()) == (6, 5, 1, 0)
    assert all(rows["in"] for rows in told.tables.values())
    assert told.resources == {"ExplanationOfBenefit": 5, "Patient": 2}
    assert told.findings.reject > 0
    assert told.findings.warn > 0


def test_money_has_a_minus_sign_and_thousands():
    assert _money_text("-1234567.89") == "\N{MINUS SIGN}1,234,567.89"
