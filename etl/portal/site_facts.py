"""Facts on the portal's pages: the payer, and the running server, as values.

Every URL, lifetime and limit on a page comes from here, and this comes from the server's own
configuration. So the documented and the actual values cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final

from etl.auth import configuration
from etl.portal.site_file import Change, SiteFile
from etl.web.texts import PageTexts

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Site:
    """The portal's look and words.

    Attributes:
        payer: the payer's name for people.
        file: what its `portal.toml` says.
        sandbox: whether this is a sandbox: synthetic members, apps active at once.
        reports: folder of the yearly numbers that are public; None for none.
        language: of the texts.
    """

    payer: str
    file: SiteFile = field(default_factory=SiteFile)
    sandbox: bool = True
    reports: Path | None = None
    language: str = "en"

    @property
    def texts(self) -> PageTexts:
        """What the pages say, with the names of payer and portal."""
        return replace(self.file.page_texts(self.payer), language=self.language)

    @property
    def title(self) -> str:
        """The portal's name."""
        return self.file.title

    @property
    def changes(self) -> Sequence[Change]:
        """What the payer changed, the newest first."""
        return sorted(self.file.changes, key=lambda change: change.day, reverse=True)

    def text(self, name: str, **values: str) -> str:
        """Return a text of a page by `page.key`, with values filled in."""
        return self.texts.text(name, **values)


@dataclass(frozen=True, slots=True)
class PublicApi:
    """An API that needs no token.

    Attributes:
        title: its title.
        base: its FHIR base URL.
        capability: gives its CapabilityStatement.
    """

    title: str
    base: str
    capability: Callable[[], Json]


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Facts of the running server.

    Attributes:
        base_url: the server's own address, as apps reach it; without a slash at its end.
        fhir: FHIR base URL of Patient Access.
        smart: the SMART configuration.
        capability: gives the CapabilityStatement of Patient Access.
        public: the served public APIs, by their names, which are also the paths of their pages.
        code_seconds: lifetime of an authorization code.
        consent_terms: the terms that a member may choose from, for people.
        page_default: matches of a page where no `_count` was given.
        page_most: most matches of a page.
        limits: name of a limit → the limit, for people.
    """

    base_url: str
    fhir: str
    smart: Json
    capability: Callable[[], Json]
    public: Mapping[str, PublicApi] = field(default_factory=dict)
    code_seconds: int = configuration.CODE_SECONDS
    consent_terms: Sequence[str] = ()
    page_default: int = 50
    page_most: int = 500
    limits: Mapping[str, str] = field(default_factory=dict)

    token_seconds: ClassVar[int] = configuration.ACCESS_SECONDS
    refresh_seconds: ClassVar[int] = configuration.REFRESH_IDLE_DAYS * 86_400
    online_seconds: ClassVar[int] = configuration.ONLINE_HOURS * 3_600

    @property
    def smart_configuration(self) -> str:
        """URL of the SMART configuration document."""
        return f"{self.fhir}/.well-known/smart-configuration"

    @property
    def code_page(self) -> str:
        """URL of the page that shows a code to its developer (sandbox only)."""
        return f"{self.base_url}/code"

    @property
    def try_page(self) -> str:
        """URL of the page that does the launch; also its app's redirect URI."""
        return f"{self.base_url}/try"


_UNITS: Final = (
    (86_400, "a day", "days"),
    (3_600, "an hour", "hours"),
    (60, "one minute", "minutes"),
    (1, "one second", "seconds"),
)


def duration_text(seconds: int) -> str:
    """Return a time span for people: `one minute`, `10 minutes`, `an hour`, `90 days`.

    Uses the largest unit that divides it, so it is exact. `seconds` must be positive.
    """
    size, singular, many = next(unit for unit in _UNITS if seconds % unit[0] == 0)
    count = seconds // size
    return singular if count == 1 else f"{count} {many}"


def age_text(seconds: float) -> str:
    """Return a time span in whole units of the largest that fits; at least one second."""
    size = next((unit[0] for unit in _UNITS if seconds >= unit[0]), 1)
    return duration_text(max(int(seconds // size), 1) * size)
