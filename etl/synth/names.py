"""Names of people and places, all made up, with the letters that real ones have.

What breaks a careless program is here on purpose: diacritics in one and in several code points'
worth of UTF-8, Greek and Chinese letters, apostrophes, double quotes, commas, ampersands and a
backslash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WHITE, BLACK, ASIAN = "2106-3", "2054-5", "2028-9"
NATIVE, PACIFIC, OTHER_RACE = "1002-5", "2076-8", "2131-1"
HISPANIC, NOT_HISPANIC = "2135-2", "2186-5"


@dataclass(frozen=True, slots=True)
class Heritage:
    """Names that go together.

    Attributes:
        families, women, men: names to draw from.
        race: OMB code or several joined by `;` (CDC Race and Ethnicity, as US Core has it).
        ethnicity: OMB code.
        languages: BCP-47 tags to draw from.
    """

    families: tuple[str, ...]
    women: tuple[str, ...]
    men: tuple[str, ...]
    race: str
    ethnicity: str
    languages: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ENGLISH: Final = Heritage(
    _words(
        "Ashdown Bellweather Carrow Dunmore Eastlake Fairbairn Greyson Hollis Ingleby Jessop "
        "Kettering Lockwood Merriweather Northcott Oakes Pemberton Quill Rushton Sedgwick Thorne "
        "Underhill Vickers Wetherby Yardley O'Brien O'Malley McAllister D'Angelo Smith-Jones"
    ),
    _words(
        "Abigail Beatrice Claire Dorothy Evelyn Frances Grace Harriet Imogen Josephine Katherine "
        "Lydia Margaret Nora Olive Penelope Ruth Sylvia Theodora Winifred"
    ),
    _words(
        "Albert Benjamin Calvin Desmond Edmund Frederick Gilbert Harold Isaac Jasper Kenneth "
        "Leonard Marcus Nathaniel Oscar Percival Raymond Stanley Theodore Walter"
    ),
    WHITE,
    NOT_HISPANIC,
    _words("en-US en-US en-US en"),
)
_BLACK: Final = Heritage(
    _words(
        "Abernathy Baptiste Coleridge Dupree Ellington Freeman Gaines Hargrove Okafor Mensah "
        "Baldwin Whitfield"
    ),
    _words("Amara Bernice Chanelle Denise Ebony Imani Keisha Loretta Nia Simone Yvonne"),
    _words("Andre Booker Cedric Darnell Elijah Jamal Kwame Lamont Malik Reginald Tyrone"),
    BLACK,
    NOT_HISPANIC,
    _words("en-US en-US fr"),
)
_SPANISH: Final = Heritage(
    _words("Muñoz Peña Ibáñez Núñez Gómez Ordóñez Castañeda Zúñiga Villaseñor Argüelles Yáñez"),
    _words("Ana Begoña Concepción Inés Itzel Lucía María Mónica Pilar Ximena"),
    _words("Álvaro Andrés Ángel Íñigo Joaquín José Martín Raúl Tomás Víctor"),
    OTHER_RACE,
    HISPANIC,
    _words("es es es-US en-US"),
)
_GERMAN: Final = Heritage(
    _words("Müller Schönfeld Jäger Größler Köhler Weiß Bräunlich"),
    _words("Käthe Bärbel Gönül Lieselotte Jördis"),
    _words("Jürgen Björn Günther Jörg Rüdiger"),
    WHITE,
    NOT_HISPANIC,
    _words("de en-US"),
)
_NORDIC: Final = Heritage(
    _words("Sørensen Åkesson Bjørnstad Þórsson Høgh Mäkelä"),
    _words("Åse Solveig Bodil Gudrún Päivi"),
    _words("Søren Håkon Øystein Aðalsteinn Jørn"),
    WHITE,
    NOT_HISPANIC,
    _words("en-US da nb"),
)
_POLISH: Final = Heritage(
    _words("Wiśniewski Łuczak Żółkowski Dąbek Świątek Gołąb"),
    _words("Małgorzata Zofia Łucja Grażyna Bożena"),
    _words("Łukasz Paweł Michał Grzegorz Świętosław"),
    WHITE,
    NOT_HISPANIC,
    _words("pl en-US"),
)
_FRENCH: Final = Heritage(
    _words("Lefèvre Bénard Garçon Hélouin L'Écuyer"),
    _words("Zoë Hélène Françoise Maïté Aurélie"),
    _words("René François Loïc Jérôme Benoît"),
    WHITE,
    NOT_HISPANIC,
    _words("fr en-US"),
)
_VIETNAMESE: Final = Heritage(
    _words("Nguyễn Trần Phạm Đặng Huỳnh Võ Bùi"),
    ("Thị Ánh", "Thị Hồng", "Mỹ Duyên", "Phương Thảo"),
    ("Văn Đức", "Hữu Nghĩa", "Quốc Tuấn", "Đình Khôi"),
    ASIAN,
    NOT_HISPANIC,
    _words("vi vi en-US"),
)
_CHINESE: Final = Heritage(
    _words("王 陳 林 張 Zhōu Lǚ"),
    _words("美玲 淑芬 Xiùyīng"),
    _words("志明 建國 小明 Wěi"),
    ASIAN,
    NOT_HISPANIC,
    _words("zh zh-TW en-US"),
)
_GREEK: Final = Heritage(
    _words("Παπαδάκης Οικονόμου Βασιλείου Konstantinídis"),
    _words("Ελένη Σοφία Δήμητρα"),
    _words("Γιώργος Νίκος Στέφανος"),
    WHITE,
    NOT_HISPANIC,
    _words("el en-US"),
)
_NATIVE: Final = Heritage(
    _words("Begaye Tsosie Littlewolf Kealoha Māhoe"),
    _words("Hāloa Aiyana Winona Leilani"),
    _words("Kāne Chaska Delsin Keoni"),
    f"{NATIVE};{PACIFIC}",
    NOT_HISPANIC,
    _words("en-US nv haw"),
)
HERITAGES: Final = (
    *(ENGLISH,) * 9,
    *(_BLACK,) * 4,
    *(_SPANISH,) * 5,
    _GERMAN,
    _NORDIC,
    _POLISH,
    _FRENCH,
    _VIETNAMESE,
    _CHINESE,
    _GREEK,
    _NATIVE,
)
"""Every heritage as often as it is drawn."""

RACE_WORDS: Final = {WHITE: "White", BLACK: "Black", ASIAN: "asian"}
"""Words that some payers send instead of the code; a crosswalk knows them."""
MIXED_RACES: Final = (
    f"{WHITE};{BLACK}",
    f"{WHITE};{ASIAN}",
    f"{BLACK};{NATIVE};{WHITE}",
    f"{WHITE};{OTHER_RACE}",
)
MIDDLE_NAMES: Final = ("A.", "Lee", "Marie", "J.", "Rosé", "de la Cruz", "St. John", "van der")
PREFIXES: Final = {"F": ("Ms.", "Mrs.", "Dr."), "M": ("Mr.", "Dr.", "Rev.")}
SUFFIXES: Final = ("Jr.", "Sr.", "III", "Ph.D., M.A.")

STREETS: Final = (
    "Alder Row", "Birchbark Lane", "Cloverleaf Court", "Duck Pond Road", "Elderberry Street",
    "Foxglove Avenue", "Granary Walk", "Heron's Rest", "Ironstone Drive", "Juniper & 3rd",
    "Kingfisher Way", 'Lantern Street ("Old Mill")', "Mulberry Terrace", "Nettle Path",
    "Ocotillo Calle Ñ", "Plum Tree Close",
)  # fmt: skip
SECOND_LINES: Final = (
    "Apt 4\\B", "Unit 12", "c/o M. O'Hara, Suite 3", "Floor 2, Rear", "Lot #7", "PO Box 61",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """A state with towns and counties that are not on its map.

    Attributes:
        code: USPS code.
        area: telephone area code.
        zips: first three digits of its ZIP codes.
        towns: (town, county) pairs.
    """

    code: str
    area: str
    zips: tuple[str, ...]
    towns: tuple[tuple[str, str], ...]


STATES: Final = (
    State(
        "MA",
        "617",
        ("010", "017", "021"),
        (
            ("Alder Falls", "Quillback County"),
            ("Saltmarsh", "Quillback County"),
            ("East Tansy", "Fen County"),
        ),
    ),
    State(
        "NM",
        "505",
        ("870", "875"),
        (("Peñasquito Alto", "Cañada County"), ("Dry Fork", "Cañada County")),
    ),
    State(
        "MN",
        "612",
        ("551", "554", "567"),
        (("Loon's Landing", "Three Lakes County"), ("New Åmot", "Three Lakes County")),
    ),
    State(
        "GA",
        "404",
        ("300", "303", "316"),
        (("Peachbottom", "Red Clay County"), ("St. Olave", "Red Clay County")),
    ),
    State(
        "OR",
        "503",
        ("970", "973"),
        (("Mossgate", "Tamarack County"), ("Coos & Vale", "Tamarack County")),
    ),
)

EMPLOYERS: Final = (
    "Alder & Finch Bakery, Inc.",
    'The "Good Egg" Cooperative',
    "Señor Wren's Cantinas LLC",
    "Kestrel Tool \\ Die",
    "Lindqvist Bräu, GmbH & Co.",
    "Unified School District No. 00417",
    "Municipal Workers' Trust",
    "Vesper Robotics",
)
SURNAME_PARTICLES: Final = ("", "", "", "", "", "", "", "-Vale", " Brook", "-O'Dell")
