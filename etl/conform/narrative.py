"""Check narratives: the XHTML in `text.div` (R4, txt-1 and txt-2; FHIRPath's `htmlChecks`)."""

from __future__ import annotations

import re
from html.entities import html5
from typing import Any, Final
from xml.parsers import expat

XHTML: Final = "http://www.w3.org/1999/xhtml"

_ELEMENT_NAMES: Final = (
    "p br div h1 h2 h3 h4 h5 h6 a span b em i strong small big tt dfn q var abbr acronym cite"
    " blockquote hr ul ol li dl dt dd pre table caption colgroup col thead tr tfoot tbody th td"
    " code samp kbd sub sup img map area u address bdo ins del style"
)
_ATTRIBUTE_NAMES: Final = (
    "title style class id lang xml:lang dir accesskey tabindex span width align valign char charoff"
    " abbr axis headers scope rowspan colspan cellspacing cellpadding border frame rules summary"
    " cite href hreflang name rel rev shape coords alt src nowrap height xmlns xmlns:xsi"
    " datetime type usemap ismap longdesc bgcolor"
)
_ELEMENTS: Final = frozenset(_ELEMENT_NAMES.split())
_ATTRIBUTES: Final = frozenset(_ATTRIBUTE_NAMES.split())
_ENTITY: Final = re.compile(r"&([A-Za-z][A-Za-z0-9]*);")
_XML_ENTITIES: Final = frozenset({"amp", "lt", "gt", "quot", "apos"})


class _ForbiddenError(Exception):
    """The XHTML contains something that a narrative must not contain."""


def is_narrative(div: Any) -> bool:
    """Return whether a text is a valid FHIR `div` with visible content."""
    if type(div) is not str:
        return False
    text = _ENTITY.sub(_resolve_entity, div)
    narrative = _NarrativeParser()
    parser = expat.ParserCreate()
    parser.StartElementHandler = narrative.start
    parser.CharacterDataHandler = narrative.characters
    parser.EntityDeclHandler = narrative.refuse
    parser.StartDoctypeDeclHandler = narrative.refuse
    parser.ProcessingInstructionHandler = narrative.refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, _ForbiddenError):
        return False
    return narrative.has_content


def _resolve_entity(match: re.Match[str]) -> str:
    name = match[1]
    if name in _XML_ENTITIES:
        return match[0]
    return html5.get(f"{name};", match[0])


class _NarrativeParser:
    """Handles the parser's events; raises on forbidden elements and attributes."""

    def __init__(self) -> None:
        self.has_content = False
        self._root = True

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._root and (name != "div" or attributes.get("xmlns") != XHTML):
            raise _ForbiddenError
        self._root = False
        if name not in _ELEMENTS or not _ATTRIBUTES.issuperset(attributes):
            raise _ForbiddenError
        if name == "img":
            self.has_content = True

    def characters(self, text: str) -> None:
        self.has_content = self.has_content or not text.isspace()

    def refuse(self, *_: object) -> None:
        raise _ForbiddenError
