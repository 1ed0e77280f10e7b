"""RSA keys that are made once for all tests: making one takes longer than most tests do."""

from functools import cache
from itertools import count

from etl.auth import signing_keys

MADE = 4
"""No test needs more of them in one database."""

_make = signing_keys._new_key
_next = count()


@cache
def _ready():
    return tuple(_make("id") for _ in range(MADE))


def new_key(use):
    """Return a key as `etl.auth.signing_keys` makes it; RSA keys come round again after four."""
    return _ready()[next(_next) % MADE] if use == "id" else _make(use)
