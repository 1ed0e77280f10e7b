"""The project's own samples: `python -m etl.synth.samples cpcds_samples` writes them again."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Final

from etl.synth.extract import write_extract, write_formulary, write_network
from etl.synth.extract_writer import WrittenExtract
from etl.synth.spec import Spec

SAMPLES: Final = Spec(members=30, seed=7, prior_auth_rate=1)
"""`cpcds_samples/`: a clean extract with every table, column and kind of claim."""
FAULTY: Final = Spec(
    members=12, seed=71, fault_rate=0.8, as_of=date(2024, 8, 31), since=date(2019, 1, 1)
)
"""`cpcds_samples/faulty/`: a small one with every kind of planted fault."""

DIRECTORY: Final = Spec(practitioners=34, seed=7)
"""`cpcds_samples/directory/`: the directory of the providers of the clean extract."""

FORMULARY: Final = Spec(drugs=10, seed=7)
"""`cpcds_samples/formulary/`: drug formularies of the same payers."""


def write_samples(folder: Path) -> tuple[WrittenExtract, ...]:
    """Write all extracts: the clean one into `folder`, the others into folders in it."""
    return (
        write_extract(folder, SAMPLES),
        write_extract(folder / "faulty", FAULTY),
        write_network(folder / "directory", DIRECTORY),
        write_formulary(folder / "formulary", FORMULARY),
    )


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]))
