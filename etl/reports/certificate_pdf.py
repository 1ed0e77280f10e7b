"""The certificate of a release on paper: a page that WeasyPrint makes a PDF of.

Nothing else imports WeasyPrint, and it is loaded for this alone. The same report gives the same
bytes where the same fonts are installed: nothing in the file is of the clock.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from etl.errors import UsageError
from etl.reports.page import environment

Paper: TypeAlias = Literal["letter", "A4"]

_EXTRA: Final = (
    "a PDF needs the package weasyprint, which is not installed: "
    "pip install 'cpcds-bluebutton[pdf]'"
)
_LIBRARIES: Final = (
    "a PDF needs the system libraries Pango and HarfBuzz, which are not installed: on Debian, "
    "apt-get install libpango-1.0-0 libpangoft2-1.0-0"
)


def certificate_page(document: Mapping[str, Any], manifest: str, paper: Paper) -> str:
    """Return the certificate of a release as a page to print.

    Args:
        document: the report of the release, with a certificate.
        manifest: SHA-256 of the release's manifest.
        paper: size of a sheet.
    """
    template = environment().get_template("certificate.html.j2")
    return template.render(report=document, manifest=manifest, paper=paper)


def pdf_of(page: str) -> bytes:
    """Return a page as PDF; it may load nothing from anywhere.

    Raises:
        UsageError: WeasyPrint or a system library that it needs is not installed.
    """
    try:
        from weasyprint import HTML
    except ModuleNotFoundError as error:
        raise UsageError(_EXTRA) from error
    except OSError as error:  # of a library that cannot be loaded
        raise UsageError(_LIBRARIES) from error
    # It warns of each property of the style that paper has no use for.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    made: bytes = HTML(string=page, url_fetcher=_nothing, media_type="print").write_pdf()
    return made


def _nothing(url: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"a page of a report loads nothing: {url}")
