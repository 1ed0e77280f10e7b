"""Texts in languages: the choice of one, and translations that are whole."""

import re
from datetime import UTC, datetime

import pytest

from etl.web.texts import TEXTS, TRANSLATIONS, PageTexts, choose_language
from tests.given.tables import table

MEMBERS = ("share", "dates", "member_sign_in", "consent", "member", "problem", "data", "your_data")


@pytest.mark.parametrize(*table(__file__, "preferences"))
def test_a_page_is_in_the_language_that_the_browser_prefers(accepted, languages, chosen):
    assert choose_language(accepted, languages) == chosen


@pytest.mark.parametrize("language", TRANSLATIONS)
def test_a_translation_has_every_text_of_the_members_pages_and_its_placeholders(language):
    translation = TRANSLATIONS[language]
    assert {page: {*texts} for page, texts in translation.items()} == {
        page: {*TEXTS[page]} for page in MEMBERS
    }
    for page, texts in translation.items():
        for key, text in texts.items():
            assert sorted(re.findall(r"{\w+}", text)) == sorted(
                re.findall(r"{\w+}", TEXTS[page][key])
            ), (page, key)


def test_a_payers_translation_comes_first_and_english_last():
    own = {"es": {"consent": {"share": "Sí"}}, "vi": {"consent": {"share": "Chia sẻ"}}}
    spanish, vietnamese = (PageTexts("Alder", translations=own, language=one) for one in own)
    assert spanish.languages == ("en", "es", "vi")
    assert (spanish.text("consent.share"), vietnamese.text("consent.share")) == ("Sí", "Chia sẻ")
    assert spanish.text("consent.do-not-share") == "No compartir"
    assert vietnamese.text("consent.do-not-share") == "Do not share"
    assert spanish.moment(datetime(2026, 12, 3, 9, 5, tzinfo=UTC)) == (
        "3 de diciembre de 2026, 09:05 UTC"
    )
