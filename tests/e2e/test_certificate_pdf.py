"""The certificate on paper has every figure of the report, whole, and the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader

from tests.e2e.commands import SAMPLES, cpcds, done

PAPERS = {"letter": (612, 792), "A4": (595, 842)}
"""Width and height in points."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples with planted faults, published."""
    target = tmp_path_factory.mktemp("certified") / "target"
    done(cpcds("run", SAMPLES / "faulty", "--to", target, "--workers", "1"))
    return target


def printed(target: Path, out: Path, *more: str) -> bytes:
    done(cpcds("report", "pdf", target, *more, "--out", out))
    return out.read_bytes()


def report_of(target: Path) -> dict[str, Any]:
    release = json.loads((target / "current.json").read_text())["release"]
    found: dict[str, Any] = json.loads(
        (target / "reports" / release / "report.json").read_text(encoding="utf-8")
    )
    return found


def words_of(data: bytes) -> str:
    return " ".join(
        " ".join(page.extract_text() for page in PdfReader(BytesIO(data)).pages).split()
    )


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_is_on_paper_and_no_text_leaves_the_sheet(
    paper: str, target: Path, tmp_path: Path
) -> None:
    data = printed(target, tmp_path / "certificate.pdf", "--paper", paper)
    report, words = report_of(target), words_of(data)
    certificate = report["certificate"]
    assert f"{certificate['facts']:,} facts and {certificate['sums']:,} sums" in words
    for name, each in report["tables"].items():
        fates = [each[fate] for fate in ("in", "published", "quarantined", "superseded")]
        assert f"{name} {' '.join(f'{count:,}' for count in fates)} " in words
    for total in report["money_totals"]:
        sums = [total[name] for name in ("source", "published", "quarantined", "superseded", "net")]
        shown = " ".join("withheld" if each is None else f"{float(each):,.2f}" for each in sums)
        shown = shown.replace("-", "\N{MINUS SIGN}")
        assert f"{total['level']} {total['category']} {shown} ✓ yes" in words
    for file in report["extract"]["files"]:
        assert f"{file['name']} {file['rows']:,} {file['sha256']}" in words
    release = report["release"]
    manifest = target / "releases" / release / "manifest.json"
    assert hashlib.sha256(manifest.read_bytes()).hexdigest() in words
    width, height = PAPERS[paper]
    for page in PdfReader(BytesIO(data)).pages:
        assert (round(page.mediabox.width), round(page.mediabox.height)) == (width, height)
        outside: list[str] = []

        def look(
            text: str, cm: list[float], tm: list[float], _font: object, size: float,
            outside: list[str] = outside,
        ) -> None:  # fmt: skip
            left = tm[4] * cm[0] + cm[4]
            right = left + 0.5 * abs(size * tm[0] * cm[0]) * len(text.strip())
            if 0 < len(text.strip()) < 70 and not 0 < left < right < width:  # prose is wrapped
                outside.append(text)

        page.extract_text(visitor_text=look)
        assert outside == []


def test_the_same_release_gives_the_same_bytes(target: Path, tmp_path: Path) -> None:
    first = printed(target, tmp_path / "one.pdf")
    release = report_of(target)["release"]
    assert printed(target, tmp_path / "two.pdf", release[:12]) == first


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        ("ModuleNotFoundError('No module', name='weasyprint')", "cpcds-bluebutton[pdf]"),
        ("OSError('cannot load library libpango-1.0-0')", "apt-get install libpango-1.0-0"),
    ],
)
def test_a_package_or_a_system_library_that_is_missing_is_named_in_a_sentence(
    raised: str, says: str, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weasyprint.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    out = tmp_path / "certificate.pdf"
    called = cpcds("report", "pdf", target, "--out", out)
    assert called.code == 2
    assert called.sentence.startswith("a PDF needs ")
    assert says in called.sentence
    assert not out.exists()


def test_a_release_that_is_not_there_has_no_certificate(target: Path, tmp_path: Path) -> None:
    called = cpcds("report", "pdf", target, "2020", "--out", tmp_path / "certificate.pdf")
    assert called.code == 2
    assert "there is no release 2020" in called.err
