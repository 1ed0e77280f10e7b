"""The committed facts are what the script makes of the guide, byte for byte."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUIDE = ROOT.parent / "shared" / "ig"
FACTS = ROOT / "etl" / "profiles" / "facts"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(
        not GUIDE.is_dir(), reason="the guide's definitions are not beside the repo"
    ),
]


def test_the_facts_are_what_the_script_writes(tmp_path):
    script = ROOT / "scripts" / "build_profile_facts.py"
    subprocess.run([sys.executable, script, GUIDE, tmp_path], check=True, capture_output=True)
    made = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*.json")}
    kept = {p.relative_to(FACTS): p.read_bytes() for p in FACTS.rglob("*.json")}
    assert made.keys() == kept.keys()
    assert [name for name, content in made.items() if kept[name] != content] == []
