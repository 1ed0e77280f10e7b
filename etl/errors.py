"""Every error a caller may meet, in one tree.

* EtlError
  + UsageError         the command was called wrongly; its caller fixes it          exit 2
    - ExtractError     what was named is no extract that can be read; nothing done  exit 2
  + MappingError       a mapping, layout, rule or setting is invalid                exit 3
    - MappingErrors    several of those, reported at once                           exit 3
  + DataRejected       the data is invalid, past the agreed limit                   exit 4
  + StoreError         storage refused, or did not answer                           exit 5
    - NotFound         no object under that key
    - DamagedObject    an object has other bytes than those that were written
    - DamagedRelease   what it names cannot be known: its manifest or catalog is damaged
    - CommitConflict   someone published first; nothing changed; safe to plan again
    - CommitUnknown    the answer was lost; it may have landed; delete nothing

Messages and attributes hold places (file, row, column, line) and rule ids, never a member's data.
Bad *data* is a finding, counted and published; it is an error only past a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, TypeVar

T = TypeVar("T")


def not_installed(extra: str = "") -> str:
    """Return the end of a message about a missing package: how to install it in a clone.

    Args:
        extra: the extra of pyproject.toml that brings it; empty if every installation has it.
    """
    return f"which is not installed: make install{f' EXTRAS={extra}' if extra else ''}"


class EtlError(Exception):
    """An error raised on purpose: one sentence that says what, where and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(EtlError):
    """The command was called in a way that cannot work."""

    exit_code = 2


class ExtractError(UsageError):
    """The folder or file named is no extract that can be read. Nothing was written."""


class MappingError(EtlError):
    """A mapping, layout, crosswalk, rule or configuration file is invalid; its author fixes it.

    Attributes:
        where: `file:line`, or the file alone.
        error_id: stable id of the kind of mistake, as listed in docs/mapping.md.
        hint: what to try, or empty.
    """

    exit_code = 3

    def __init__(self, where: str, error_id: str, problem: str, *, hint: str = "") -> None:
        where, problem, hint = _one_line(where), _one_line(problem), _one_line(hint)
        self.where = where
        self.error_id = error_id
        self.hint = hint
        self._what = problem
        super().__init__(f"{self.sentence} [{error_id}]")

    @property
    def sentence(self) -> str:
        """The message without the id."""
        return f"{self.where}: {self._what}{f'; {self.hint}' if self.hint else ''}"

    @property
    def every(self) -> tuple[MappingError, ...]:
        """The mistake itself, alone; all of them where it stands for several."""
        return (self,)

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to unpickle it: a worker's error is passed to the process that waits."""
        return _mapping_error, (self.where, self.error_id, self._what, self.hint)


def _one_line(text: str) -> str:
    """Return a text with escapes for what would break its line, as names in a file may."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _mapping_error(where: str, error_id: str, problem: str, hint: str) -> MappingError:
    return MappingError(where, error_id, problem, hint=hint)


class MappingErrors(MappingError):
    """Several mistakes, each a `MappingError`; place and id are those of the first."""

    def __init__(self, every: Sequence[MappingError]) -> None:
        self._all = tuple(every)
        first = self._all[0]
        EtlError.__init__(self, "\n".join(str(error) for error in every))
        self.where, self.error_id, self.hint = first.where, first.error_id, first.hint

    def __reduce__(self) -> tuple[object, ...]:
        """Return how to unpickle it, as `MappingError` does."""
        return MappingErrors, (self._all,)

    @property
    def every(self) -> tuple[MappingError, ...]:
        """All of them."""
        return self._all


class Mistakes:
    """Mistakes of files and settings, collected so that all of them are reported at once."""

    def __init__(self) -> None:
        self._every: dict[str, MappingError] = {}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._every)

    def add(self, error: MappingError) -> None:
        """Take a mistake, or several; one that was taken before is not taken again."""
        for mistake in error.every:
            self._every.setdefault(str(mistake), mistake)

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Take the mistake that ends a block, and go on after it."""
        try:
            yield
        except MappingError as error:
            self.add(error)

    def report(self, other_errors: Iterable[MappingError] = ()) -> None:
        """Raise what was collected, and more.

        Raises:
            MappingError: there were mistakes; `MappingErrors` where there were several.
        """
        for error in other_errors:
            self.add(error)
        every = tuple(self._every.values())
        if every:
            raise every[0] if len(every) == 1 else MappingErrors(every)

    def require(self, value: T | None) -> T:
        """Return what blocks without mistakes have made.

        Raises:
            MappingError: there were mistakes, which is why it may be None.
        """
        self.report()
        if value is None:
            raise AssertionError("nothing was made, and no mistake was reported")
        return value


class DataRejected(EtlError):
    """So much of the data was rejected that the run stopped before publishing anything."""

    exit_code = 4


class StoreError(EtlError):
    """Storage refused, or did not answer."""

    exit_code = 5


class NotFound(StoreError):
    """There is no object under that key."""


class DamagedObject(StoreError):
    """An object has other bytes than those that were written."""


class DamagedRelease(StoreError):
    """The manifest of the current release, or its catalog, is missing or damaged."""


class CommitConflict(StoreError):
    """Another run published first. Nothing changed; plan again on top of it."""


class CommitUnknown(StoreError):
    """The answer to the swap was lost. It may have landed: delete nothing."""


@contextmanager
def if_interrupted(sentence: str) -> Iterator[None]:
    """Add a note to an interruption (Ctrl-C, SIGTERM): what state it leaves, and what to do next.

    The innermost note is the one that counts.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not getattr(error, "__notes__", ()):
            error.add_note(sentence)
        raise


def nearest(word: str, words: Iterable[str]) -> str:
    """Return the question whether the nearest of some words was meant; "" where none is near."""
    from difflib import get_close_matches  # wrong words are rare

    matches = get_close_matches(word, list(words), n=1)
    return f"did you mean {matches[0]!r}?" if matches else ""


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
