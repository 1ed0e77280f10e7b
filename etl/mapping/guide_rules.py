"""Rules that a guide states in words, as tests of the rows of a plan."""

from __future__ import annotations

from collections.abc import Iterator

from etl.mapping.formulas import Formula, all_of, at_least, exists, matches, no
from etl.mapping.invariants import Subject, fulfilled
from etl.mapping.plan import Loop
from etl.mapping.row_tests import Nowhere, Rows, Test, Twice, entries_of, numbers
from etl.profiles import guide_rules as gr


def guide_rule_tests(rule: gr.GuideRule, subject: Subject) -> Iterator[tuple[str, Test]]:
    """Yield the path that a rule is about, and the test that finds the rows which break it.

    Args:
        rule: about whole resources.
        subject: the root of a plan.
    """
    root = subject.root
    match rule:
        case gr.MarkedEntry(name=name, mark=mark):
            marked = tuple(_marked(subject, name, mark))
            yield f"{name}.{mark}", Rows((), no(at_least(1, marked)))
            yield f"{name}.{mark}", Rows((), at_least(2, marked))
        case gr.UniqueNumbers(lists=lists, inner=inner, number=number):
            for name in lists:
                yield f"{name}.{number}", Twice(numbers(root, (name, number)))
            for outer, name in inner:
                for loops, given, entry in entries_of(root, outer):
                    found = numbers(entry, (name, number), loops=loops, given=given)
                    if found.sources:
                        yield f"{outer}.{name}.{number}", Twice(found, loops)
        case gr.ListedNumbers():
            yield from _listed(rule, subject)
        case gr.ForbiddenEntry(given=given, name=name, forbidden=forbidden):
            entered = exists(root, (name,), lambda inner: fulfilled(forbidden, inner, subject))
            together = all_of(fulfilled(given, root, subject), entered)
            yield f"{name}:{rule.slice_name}.{rule.at}", Rows((), together)


def _marked(subject: Subject, name: str, mark: str) -> Iterator[tuple[tuple[Loop, ...], Formula]]:
    for loops, given, entry in entries_of(subject.root, name):
        yield loops, all_of(given, exists(entry, (mark,), lambda inner: matches(inner, True)))


def _listed(rule: gr.ListedNumbers, subject: Subject) -> Iterator[tuple[str, Test]]:
    """Yield the tests of numbers that a plan names; what it names nowhere needs none."""
    for name in rule.lists:
        for depth in range(len(rule.inner) + 1):
            for member, listed in rule.members:
                path = (name, *rule.inner[:depth], member)
                named = numbers(subject.root, path)
                if named.sources:
                    yield ".".join(path), Nowhere(named, numbers(subject.root, listed))
