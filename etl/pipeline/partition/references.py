"""References to the shared directory in the text of resources."""

from __future__ import annotations

import re
from typing import Final

REFERENCE: Final = re.compile(rb'"reference":"((?:Organization|Practitioner)/[a-z2-7]{32})"')
"""A reference to an Organization or Practitioner; its group is `Type/id`."""
