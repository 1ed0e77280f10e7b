"""The pages that tell: what is on them, what is never on them, and where their links lead."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import urlsplit
from xml.etree import ElementTree

import pytest
from markupsafe import escape

from etl.errors import StoreError
from etl.gateway.http.responses import KINDS
from etl.portal.data_dictionary import DataDictionary
from etl.portal.portal import CHANGES, ERRORS
from etl.portal.site_facts import Site
from etl.portal.site_file import Change, Contact, Look, SiteFile
from etl.reports.public_numbers import post_numbers
from etl.web.texts import TEXTS, TRANSLATIONS
from tests.given.tables import read_tables
from tests.integration.auth.standing import BASE
from tests.integration.portal.conftest import browser
from tests.integration.portal.served import SITE
from tests.unit.reports.test_prior_auth import document, request

TABLES = read_tables(__file__)
PUBLIC = TABLES["public"]
OWN = ("/profile", "/settings", "/settings/delete", "/apps", "/apps/new")
ELSEWHERE = ("/member", "/fhir", "/oauth", "/directory", "/formulary")
"""Paths that the other rooms of the process answer."""


class Looked(HTMLParser):
    """What a page is made of."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def values(self, name):
        return [attrs[name] or "" for _, attrs in self.tags if attrs.get(name) is not None]


@pytest.mark.parametrize("path", [*PUBLIC, "/nowhere"])
def test_a_page_has_no_inline_script_or_style_and_its_policy_forbids_them(reader, path):
    answer = reader.get(path)
    assert answer.status_code == (404 if path == "/nowhere" else 200)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    looked = Looked(answer.text)
    assert looked.values("style") == []
    assert [tag for tag, attrs in looked.tags if tag == "script" and "src" not in attrs] == []
    assert [tag for tag, _ in looked.tags if tag == "style"] == []
    assert [name for _, attrs in looked.tags for name in attrs if name.startswith("on")] == []


@pytest.mark.parametrize("path", [*PUBLIC, "/nowhere"])
def test_a_page_has_one_heading_a_title_a_language_and_ids_that_are_unique(reader, path):
    text = reader.get(path).text
    looked = Looked(text)
    assert [tag for tag, _ in looked.tags].count("h1") == 1
    assert re.search(r"<title>.+ · Developer Portal</title>", text)
    assert '<html lang="en">' in text
    ids = looked.values("id")
    assert sorted(set(ids)) == sorted(ids)
    for target in looked.values("href"):
        if target.startswith("#"):
            assert target[1:] in ids, target


def test_every_link_of_every_page_leads_somewhere(developer):
    developer.register()
    seen = set()
    waiting = [*PUBLIC, *OWN]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = developer.get(path)
        assert answer.status_code in (200, 303), path
        if not answer.headers.get("content-type", "").startswith("text/html"):
            continue
        for link in (*Looked(answer.text).values("href"), *Looked(answer.text).values("src")):
            parts = urlsplit(link.removeprefix(BASE))
            if parts.scheme or not parts.path or parts.path.startswith(ELSEWHERE):
                continue
            waiting.append(parts.path)
    assert len(seen) > 25


def test_the_patient_access_page_names_the_real_endpoints(reader):
    text = reader.get("/patient-access").text
    for url in ("/oauth/authorize", "/oauth/token", "/oauth/revoke", "/oauth/introspect", "/fhir"):
        assert BASE + url in text


def test_the_table_of_errors_has_each_status_that_an_app_can_meet():
    statuses = {str(kind.status) for kind in KINDS.values()}
    assert {row["code"] for row in ERRORS["fhir"]} == statuses


def test_who_is_signed_in_has_profile_settings_and_logout(developer):
    text = developer.get("/").text
    assert ">Profile<" in text
    assert ">Settings<" in text
    assert ">Sign out<" in text


@pytest.mark.parametrize("api", ["patient-access", "provider-directory"])
def test_the_capability_statement_is_shown_and_can_be_downloaded(reader, api):
    page = reader.get(f"/{api}/capability").text
    assert "service-start-date" in page
    assert "CARIN Blue Button 2.2.0" in page
    download = reader.get(f"/{api}/capability.json")
    assert download.headers["content-disposition"].startswith("attachment;")
    assert json.loads(download.text)["resourceType"] == "CapabilityStatement"


@pytest.mark.parametrize("api", ["patient-access", "provider-directory"])
def test_the_page_of_an_api_names_every_type_and_parameter_of_its_statement(reader, api):
    text = reader.get(f"/{api}").text
    statement = json.loads(reader.get(f"/{api}/capability.json").text)
    for resource in statement["rest"][0]["resource"]:
        assert f'<th scope="row">{resource["type"]}</th>' in text
        names = [parameter["name"] for parameter in resource["searchParam"]]
        names += [one.partition(":")[2] for one in resource.get("searchInclude", ())]
        assert [name for name in names if f"{name}</code>" not in text] == []


def test_the_sandbox_shows_members_their_claims_and_the_password(reader):
    text = reader.get("/sandbox").text
    assert "Ana Muñoz Peña" in text
    assert "<code>alder</code>" in text
    assert re.search(r'data-label="Pharmacy">12<', text)
    assert "Vision" not in text  # nobody has such claims


def test_the_sandbox_names_the_member_with_claims_of_every_profile_on_one_page(reader):
    text = reader.get("/sandbox").text
    (paragraph,) = re.findall(r'<p id="one-page">.*?</p>', text, re.DOTALL)
    assert re.findall(r"<code>(.*?)</code>", paragraph) == ["jurgen"]


def test_production_has_no_sandbox_pages(production):
    visitor = browser(production)
    assert visitor.get("/sandbox").status_code == 404
    assert visitor.get("/code?code=abc").status_code == 404
    assert "/static/try.js" not in visitor.get("/try").text
    home = visitor.get("/").text
    assert "Every member here is made up" not in home
    assert "https://sandbox.api.example" in visitor.get("/patient-access").text


def test_the_code_page_shows_what_came_and_nothing_of_it_is_html(reader):
    text = reader.get("/code?code=<script>alert(1)</script>&state=s%22x").text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    refused = reader.get("/code?error=access_denied&error_description=The+member+said+no").text
    assert "access_denied" in refused


def test_contact_us_shows_what_is_configured_and_nothing_else(stand):
    contact = Contact(email="api@alder.example", address="1 Main Street\nAlder Falls")
    standing = stand(site=replace(SITE, file=SiteFile(contact=contact)))
    text = browser(standing).get("/contact").text
    assert "mailto:api@alder.example" in text
    assert "1 Main Street<br>Alder Falls" in text
    assert "Phone" not in text


def test_changes_have_days_and_labels_on_the_page_and_in_the_feed(stand):
    own = (
        Change(day="2026-05-01", text="`code` & <more>.", label="removed"),
        Change(day="2020-01-01", text="Older."),
    )
    anyone = browser(stand(site=replace(SITE, file=SiteFile(changes=own))))
    page = anyone.get("/changes").text
    assert '<time datetime="2026-05-01">May 1, 2026</time> <span class="tag">Removed</span>' in page
    assert 'type="application/atom+xml"' in page
    got = anyone.get("/changes.atom")
    assert got.headers["content-type"].startswith("application/atom+xml")
    feed = ElementTree.fromstring(got.text)  # noqa: S314 - our own
    atom = "{http://www.w3.org/2005/Atom}"
    days = [entry.findtext(f"{atom}updated") for entry in feed.iter(f"{atom}entry")]
    assert days[:2] == ["2026-05-01T00:00:00Z", "2020-01-01T00:00:00Z"]
    assert feed.findtext(f"{atom}updated") == max(days)
    assert len(days) == 2 + sum(map(len, CHANGES.values()))
    titles = [entry.findtext(f"{atom}title") for entry in feed.iter(f"{atom}entry")]
    assert titles[0] == "Removed: code & <more>."
    ids = [entry.findtext(f"{atom}id") for entry in feed.iter(f"{atom}entry")]
    assert len(set(ids)) == len(ids)


def test_members_learn_what_sharing_means_and_where_to_complain_in_the_payers_words(stand):
    own = {"your_data": {"how-to-payer": "Call {payer} at 1-800-555-0100."}}
    standing = stand(site=Site("Alder", SiteFile(texts=own)))
    text = browser(standing).get("/your-data").text
    for address in ("reportfraud.ftc.gov/", "www.hhs.gov/hipaa/filing-a-complaint/index.html"):
        assert f'href="https://{address}"' in text
    assert "Call Alder at 1-800-555-0100." in text
    assert all(escape(text_of_payer) in text for text_of_payer in _texts_of_your_data("Alder"))


def test_members_learn_it_in_their_language(reader):
    spanish = {"accept-language": "es"}
    for path, headers in (("/your-data?lang=es", {}), ("/your-data", spanish)):
        text = reader.client.get(path, headers=headers).text
        assert '<div class="wrap page" lang="es">' in text
        assert TRANSLATIONS["es"]["your_data"]["ask-limits"] in text
        assert "lang=en" in text
        assert "Your health data" not in text


def _texts_of_your_data(payer):
    texts = TEXTS["your_data"].items()
    return [text.replace("{payer}", payer) for key, text in texts if key != "how-to-payer"]


API_USE = TABLES["api_use"] | {"more_than_once": None}


def test_numbers_that_were_posted_are_public_as_page_json_and_csv(tmp_path, stand):
    reports = tmp_path / "reports"
    reports.mkdir()
    post_numbers(reports, "api-use-2026", API_USE, "year\n2026\n")
    (reports / "notes.json").write_text("{}")
    standing = stand(site=replace(SITE, reports=reports))
    visitor = browser(standing)
    listed = Looked(visitor.get("/public-reporting").text).values("href")
    name = "/public-reporting/api-use-2026"
    assert {name, f"{name}.json", f"{name}.csv"} <= set(listed)
    assert "/public-reporting" in Looked(visitor.get("/").text).values("href")
    page = visitor.get(name).text
    assert "1,200" in page
    assert "withheld" in page
    assert "&lt;Compass&gt;" in page
    assert visitor.get(f"{name}.json").json() == API_USE
    table = visitor.get(f"{name}.csv")
    assert (table.text, table.headers["content-type"]) == (
        "year\n2026\n",
        "text/csv; charset=utf-8",
    )
    assert "content-security-policy" in table.headers
    for other in ("api-use-2025", "notes", "notes.json", "prior-auth-2026.csv", "%2e%2e/auth.db"):
        assert visitor.get(f"/public-reporting/{other}").status_code == 404


def test_metrics_of_prior_authorization_are_a_page(tmp_path, stand):
    decided = [request(at, program="<MA>", extended="Y") for at in range(1200)]
    numbers = document([*decided, request(9999, is_drug="Y")], most=10)
    post_numbers(tmp_path, "prior-auth-2026", numbers, "")
    standing = stand(site=replace(SITE, reports=tmp_path))
    page = browser(standing).get("/public-reporting/prior-auth-2026").text
    assert "<h2>&lt;MA&gt;</h2>" in page
    assert "100.0% (1,200 of 1,200)" in page
    assert '<td>only for drugs</td><td class="number">withheld</td>' in page


def test_without_a_folder_no_numbers_are_public(reader):
    assert reader.get("/public-reporting").status_code == 404
    assert reader.get("/public-reporting/api-use-2026").status_code == 404
    assert "/public-reporting" not in Looked(reader.get("/").text).values("href")


def test_a_payer_lays_style_logo_and_templates_over_the_portal(tmp_path, stand):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "home.html.j2").write_text(
        '{% extends "base.html.j2" %}{% block title %}Ours{% endblock %}'
        "{% block main %}<h1>Our own words</h1>{% endblock %}"
    )
    (tmp_path / "own.css").write_text(":root { --accent: #146c43; }")
    (tmp_path / "logo.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    look = Look(
        stylesheet=tmp_path / "own.css", logo=tmp_path / "logo.svg", templates=tmp_path / "own"
    )
    standing = stand(site=replace(SITE, file=SiteFile(look=look)))
    visitor = browser(standing)
    home = visitor.get("/").text
    assert "Our own words" in home
    assert "/static/own.css" in home
    assert visitor.get("/static/own.css").text.startswith(":root")
    assert visitor.get("/static/logo").headers["content-type"].startswith("image/svg+xml")
    assert visitor.get("/contact").status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/static/../app.py", "/apps/x/y/z"])
def test_what_is_not_there_is_a_page_that_says_so(reader, path):
    answer = reader.get(path)
    assert answer.status_code == 404
    assert "This page does not exist" in answer.text


def test_a_bug_is_a_page_that_tells_nothing_of_it(reader, monkeypatch):
    def broken(_):
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr("etl.portal.portal.read_statement", broken)
    answer = reader.get("/")
    assert answer.status_code == 500
    assert "Something went wrong on our side" in answer.text
    assert "hunter2" not in answer.text
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize("path", ["/data-dictionary", "/data-dictionary/Patient"])
def test_a_dictionary_that_cannot_be_read_is_not_taken_for_none(reader, monkeypatch, path):
    async def fail(_):
        raise StoreError("storage failed")

    monkeypatch.setattr(DataDictionary, "elements", fail)
    answer = reader.get(path)
    assert answer.status_code == 503
    assert "cannot be read right now" in answer.text
    assert "has no data dictionary" not in answer.text


def test_an_example_file_is_filled_in(reader):
    for name in ("first_claim.py", "first_claim.mjs", "first_claim.sh"):
        answer = reader.get(f"/examples/{name}")
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert f"{BASE}/fhir" in answer.text
        assert "{{" not in answer.text
    assert reader.get("/examples/other.py").status_code == 404
