"""Shapes of codes: what can be told of a code without its code system's content."""

from __future__ import annotations

import re
from typing import Final

SERVICE_SYSTEMS: Final = (
    ("CDT", re.compile(r"D[0-9]{4}")),
    ("HCPCS", re.compile(r"[A-CE-V][0-9]{4}")),
    ("CPT", re.compile(r"[0-9]{4}[0-9FTUM]")),
    ("HIPPS", re.compile(r"[A-Z0-9]{5}")),
)
"""Service code systems and the shape of their codes, the first that fits wins.

CDT: D and four digits. HCPCS level II: a letter and four digits. CPT: five digits, or four and F
(category II), T (III), U (PLA) or M (MAAA). HIPPS: any other five letters and digits.
"""
