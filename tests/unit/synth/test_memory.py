import subprocess
import sys

import pytest

_CODE = """
import resource, sys
from pathlib import Path
from etl.synth import Spec, write_extract
write_extract(Path(sys.argv[1]), Spec(members=int(sys.argv[2]), format=sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["csv", pytest.param("parquet", marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_number_of_members(tmp_path, format_):
    peaks = []
    for members in (1_500, 6_000):
        out = tmp_path / str(members)
        done = subprocess.run(
            [sys.executable, "-c", _CODE, str(out), str(members), format_],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(done.stdout) / 1024)

    size = sum(path.stat().st_size for path in out.iterdir()) / 2**20
    assert peaks[1] - peaks[0] < 20, f"{peaks} MiB for {size:.0f} MiB of files"
