"""Pages lead somewhere, name what there is, and nothing of the place where they were written."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, page, prose, tracked

TRACKED = tracked()
PAGES = sorted(name for name in TRACKED if name.endswith(".md"))
ENTRY_PAGES = ["README.md", "CONTRIBUTING.md"]
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")

# Put together here, so that this file does not hold them itself.
ELSEWHERE = [
    *("/wo" + "rk/", "/ro" + "ot/", "py" + "env", "site" + "-packages", "pypi" + ".org"),
    *("python" + "hosted", "maven" + "central", "repo" + ".maven", "nex" + "us"),
    "arti" + "factory",
]


def anchors(text):
    """Return what a heading of a page can be linked by."""
    found = set()
    for line in prose(text).splitlines():
        if heading := re.fullmatch(r"#+ (.*)", line):
            words = re.sub(r"[^\w\- ]", "", heading.group(1).lower())
            found.add(words.replace(" ", "-"))
    return found


def links(name):
    for target in LINK.findall(prose(page(name))):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    assert (ROOT / name).is_file()
    for target in links(name):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), target


def test_every_page_of_docs_is_reached_from_the_entry_pages():
    reached = set(ENTRY_PAGES)
    to_read = list(ENTRY_PAGES)
    while to_read:
        name = to_read.pop()
        for target in links(name):
            path = (ROOT / name).parent / target.partition("#")[0]
            found = path.resolve().relative_to(ROOT).as_posix() if path.is_file() else name
            if found.endswith(".md") and found not in reached:
                reached.add(found)
                to_read.append(found)
    assert {name for name in PAGES if name.startswith("docs/")} <= reached


def test_files_that_pages_name_are_there():
    named = re.compile(r"`((?:etl|docs|mappings|tests|benchmarks|scripts|conformance)/[\w./-]+)`")
    paths = {path: name for name in PAGES for path in named.findall(prose(page(name)))}
    assert len(paths) > 50
    assert {path: name for path, name in paths.items() if not (ROOT / path).exists()} == {}


def test_make_targets_that_pages_name_are_there():
    targets = set(re.findall(r"^([a-z0-9-]+):", page("Makefile"), re.MULTILINE))
    told = {
        (name, target)
        for name in PAGES
        for target in re.findall(r"(?:`|^    |&& )make ([a-z0-9-]+)", page(name), re.MULTILINE)
    }
    assert told
    assert {target for _, target in told} <= targets, told


@pytest.mark.parametrize("word", ELSEWHERE)
def test_no_file_names_the_place_where_it_was_written(word):
    held = word.encode()
    others = [name for name in TRACKED if name != "uv.lock"]  # a lock names the public index
    assert Path(__file__).relative_to(ROOT).as_posix() in TRACKED
    assert [name for name in others if held in Path(ROOT / name).read_bytes()] == []
