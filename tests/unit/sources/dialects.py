"""A small dialect for tests, and pieces to change in it."""

from pathlib import Path
from types import MappingProxyType

from etl.bootstrap.mappings import read_crosswalks, shipped
from etl.model.crosswalks import Crosswalk
from etl.sources.layout.model import Layout, LayoutText
from etl.sources.layout.syntax import read_layout

OWN = Path(__file__).parents[2] / "golden/own-mappings"
"""A mappings folder of a payer's own: four layouts that do not ship, two of them overlays."""


LAYOUT = Path(__file__).with_name("tiny.yaml").read_text(encoding="utf-8")


def crosswalk(name: str, **rows: str) -> Crosswalk:
    """A crosswalk with one answer column."""
    return Crosswalk(name, ("code",), MappingProxyType({k: (v,) for k, v in rows.items()}))


CROSSWALKS = {
    "sexes": crosswalk("sexes", m="M", f="F", x=""),
    "foreign": crosswalk("foreign", s1="E11.9"),
}
PERSONS = "Person,Policy,Born,Name,Sex,Payer\nM1,C1,1970-01-01,Ng,f,P1\n"
BILLS_HEADER = "Bill,Person,Row,Kind,Day,Paid,Total,Sum,Doctor,Clinic,Code,System,Note\n"
BILLS = BILLS_HEADER + "B1,M1,1,professional,2024-01-05,2024-01-09,10,10,D1,O1,I10,ICD,\n"


def layout(text: str = LAYOUT) -> Layout:
    """The layout that a text describes."""
    return read_layout(text, "tiny.yaml", CROSSWALKS)


def known_layouts() -> tuple[Layout, ...]:
    """The layouts that come with the program, and examples of a payer's own."""
    folders = (shipped(), OWN)
    prefix = "layouts/"
    crosswalks = {
        name.removeprefix(prefix): found
        for name, found in read_crosswalks(folders).items()
        if name.startswith(prefix)
    }
    paths = sorted(path for folder in folders for path in (folder / "layouts").glob("*.yaml"))
    texts = {path.stem: LayoutText(str(path), path.read_text()) for path in paths}
    return tuple(read_layout(each.text, each.file, crosswalks, texts) for each in texts.values())


def write(folder: Path, bills: str = BILLS, persons: str = PERSONS) -> Path:
    """An extract of the dialect."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "persons.csv").write_text(persons, encoding="utf-8")
    (folder / "bills.csv").write_text(bills, encoding="utf-8")
    return folder
