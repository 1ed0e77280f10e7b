"""`cpcds_samples/` is what the generator writes, and what its README says."""

import re
import shlex
from collections import Counter
from datetime import date
from pathlib import Path

from etl.model.canonical_tables import CLAIM_TYPES
from etl.model.canonical_tables import CLAIMS_TABLES as TABLES
from etl.synth import NetworkSpec, Spec
from etl.synth.samples import DIRECTORY, FAULTY, SAMPLES, write_samples
from tests.unit.synth.written import hashes, plain, read

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "cpcds_samples"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
ROWS = plain(read(FOLDER))


def test_the_samples_are_what_the_generator_writes_byte_for_byte(tmp_path):
    write_samples(tmp_path)

    written = {name: digest for name, digest in hashes(FOLDER).items() if name != "README.md"}
    assert written == hashes(tmp_path)
    for name in ("faulty", "directory"):
        assert hashes(FOLDER / name) == hashes(tmp_path / name)


def _spec_of(command):
    """Return what a documented command line asks for."""
    words = shlex.split(command)
    assert words[:2] == ["cpcds", "synth"]
    if words[2] == "--directory":
        del words[2]
        told = dict(zip(words[2::2], words[3::2], strict=True))
        network = NetworkSpec(int(told["--practitioners"]), int(told["--seed"]))
        return network, told["--out"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    out = options.pop("--out")
    choices = {name.removeprefix("--").replace("-", "_"): text for name, text in options.items()}
    return (
        Spec(
            members=int(choices["members"]),
            seed=int(choices["seed"]),
            fault_rate=float(choices.get("fault_rate", "0")),
            as_of=date.fromisoformat(choices.get("as_of", "2025-12-31")),
            since=date.fromisoformat(choices.get("since", "2016-01-01")),
        ),
        out,
    )


def test_the_readme_names_the_commands_that_make_them():
    commands = [_spec_of(text) for text in re.findall(r"`(cpcds synth [^`]+)`", README)]

    assert commands == [
        (SAMPLES, "cpcds_samples"),
        (FAULTY, "cpcds_samples/faulty"),
        (DIRECTORY, "cpcds_samples/directory"),
    ]


def test_the_readme_counts_right():
    claims = len(ROWS["claim"])
    faulty = plain(read(FOLDER / "faulty"))
    faults = len((FOLDER / "faulty" / "faults.csv").read_text(encoding="utf-8").splitlines()) - 2

    assert f"{len(ROWS['member'])} members, {claims} claims" in README
    assert (
        f"{len(faulty['member'])} members, {len(faulty['claim'])} claims, {faults} planted"
        in README
    )


def test_they_are_small_enough_to_be_kept():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 1_500_000


def test_they_hold_every_column_and_every_type_of_claim():
    for table in TABLES.values():
        for column in table.names:
            assert any(column in row for row in ROWS[table.name]), f"{table.name}.{column}"
    assert {row["claim_type"] for row in ROWS["claim"]} == set(CLAIM_TYPES)
    assert len(ROWS["member"]) >= 25
    assert len(ROWS["claim"]) >= 300
    assert Counter(row["member_id"] for row in ROWS["claim"]).most_common(1)[0][1] >= 200
