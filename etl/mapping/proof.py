"""Formulas that no row can make true, found by trying every kind of row.

A row is reduced to what a formula can distinguish: a column is absent, is one of the texts that the
formula names, or is something else; two dates are in order or not. Those kinds of rows are few;
they are tried without the branches that decide nothing. A proof that takes too many steps is
abandoned: the run then checks what could have been proved, which is slower and no less safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Final, TypeAlias

from etl.mapping import expressions as ex
from etl.mapping import formulas as fm
from etl.mapping.row_columns import MASKABLE_COLUMNS
from etl.model import logic

MOST_STEPS: Final = 3000

_OTHER_TEXT: Final = "\x00other"
"""Stands for every text that a formula does not name."""

_Answer: TypeAlias = str | bool | EllipsisType | None
"""Answer of a question; `...` while it is open."""
_Facts: TypeAlias = dict[int, _Answer]
_SAME_TEXT: Final = frozenset(
    {ex.Kind.TEXT, ex.Kind.CODE, ex.Kind.DATE, ex.Kind.DATETIME, ex.Kind.DECIMAL}
)


def is_never_true(
    formula: fm.Formula, assumption: ex.Condition | None = None, names: Names | None = None
) -> bool:
    """Prove that no row can make a formula true; False if no proof was found.

    Args:
        formula: the formula that must never be true.
        assumption: a known fact about the row, such as the mapping's condition.
        names: shared by the proofs of a plan, to save time.
    """
    if isinstance(formula, bool):
        return not formula
    search = _ProofSearch(names or Names())
    conjunction = formula if assumption is None else logic.AllOf((assumption, formula))
    try:
        return not search.can_be(conjunction, {})
    except _ProofTooLongError:
        return False


@dataclass(slots=True)
class Names:
    """Numbers for expressions and formulas; equal ones have the same.

    Comparing them by their parts would cost most of a proof, so each object is compared once.
    Objects are kept, so that no `id()` is used again for another.
    """

    _numbers: dict[object, int] = field(default_factory=dict)
    _of_objects: dict[int, int] = field(default_factory=dict)
    _kept: list[object] = field(default_factory=list)

    def number(self, node: object) -> int:
        """Return the number of an expression or formula."""
        number_of_object = self._of_objects.get(id(node))
        if number_of_object is None:
            number_of_object = self._numbers.setdefault(node, len(self._numbers))
            self._of_objects[id(node)] = number_of_object
            self._kept.append(node)
        return number_of_object


class _ProofTooLongError(Exception):
    pass


@dataclass(slots=True)
class _ProofSearch:
    """One proof.

    Attributes:
        names: numbers of the expressions.
        steps: how many kinds of rows were tried.
        open: the first question without an answer, with its possible answers.
        named: expression -> the texts that the formula compares it with.
    """

    names: Names
    steps: int = 0
    open: list[tuple[int, tuple[_Answer, ...]]] = field(default_factory=list)
    named: dict[int, set[str]] = field(default_factory=dict)

    def can_be(self, formula: fm.Formula, facts: _Facts) -> bool:
        """Return whether a row that agrees with the assumptions makes the formula true."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise _ProofTooLongError
        self.open.clear()
        answer = self.formula(formula, facts)
        if answer is not None:
            return answer
        key, ways = self.open[0]
        return any(self.can_be(formula, {**facts, key: way}) for way in ways)

    def ask(self, key: int, ways: tuple[_Answer, ...], facts: _Facts) -> _Answer:
        """Return the assumed answer; the first question without one is added to `open`."""
        if key not in facts and not self.open:
            self.open.append((key, ways))
        return facts.get(key, ...)

    def opaque_truth(self, key: object, facts: _Facts, *needs: ex.Expr) -> bool | None:
        """Assume a truth value for an opaque formula; False if a needed value is absent."""
        present = _all_true([self.is_present(need, facts) for need in needs])
        if not present:
            return present
        answer = self.ask(self.names.number(key), (True, False), facts)
        return None if answer is ... else bool(answer)

    # -- formulas ----------------------------------------------------------------------------

    def formula(self, formula: fm.Formula, facts: _Facts) -> bool | None:
        match formula:
            case bool():
                return formula
            case ex.IsPresent(operand=operand):
                return self.is_present(operand, facts)
            case ex.OneOf(operand=text, values=values, negated=negated):
                answer = self.one_of(text, values, facts)
                if negated:
                    return _all_true((self.is_present(text, facts), _not(answer)))
                return answer
            case logic.AllOf(parts=parts):
                return _all_true(self.formula(part, facts) for part in parts)
            case logic.AnyOf(parts=parts):
                return _any_true(self.formula(part, facts) for part in parts)
            case logic.Not(operand=operand):
                return _not(self.formula(operand, facts))
            case ex.Equality(left=left, right=right) | ex.DateOrder(left=left, right=right):
                return self.opaque_truth(formula, facts, left, right)
            case fm.AllowedCoding(system=system, code=code):
                return self.opaque_truth(formula, facts, system, code)
            case fm.WrongFormat(operand=operand) | fm.StartsWith(operand=operand):
                return self.opaque_truth(formula, facts, operand)
            case fm.SomeRow() | fm.MinCount():
                return self.opaque_truth(formula, facts)

    # -- expressions -------------------------------------------------------------------------

    def is_present(self, expr: ex.Expr, facts: _Facts) -> bool | None:
        match expr:
            case ex.Constant() | ex.LoopIndex():
                return True
            case ex.ColumnOf(nullable=False, column=column) if column not in MASKABLE_COLUMNS:
                return True  # the rule `required` is firm; derived columns are never absent
            case ex.Absent():
                return False
            case ex.FirstOf(parts=parts):
                return _any_true(self.is_present(part, facts) for part in parts)
            case ex.Concat(parts=parts):
                return _all_true(self.is_present(part, facts) for part in parts)
            case ex.Choice(condition=condition, then=then, otherwise=otherwise):
                return self._choose(
                    condition,
                    self.is_present(then, facts),
                    self.is_present(otherwise, facts),
                    facts,
                )
            case ex.Translation(operand=operand) | ex.ShapedText(operand=operand) if (
                self.is_present(operand, facts) is False
            ):
                return False
            case ex.Translation() | ex.ShapedText() | ex.ColumnOf():
                text = self.value(expr, facts)
                return None if text is ... else text is not None
            case _:
                return self.is_present(expr.operand, facts)

    def _choose(
        self, condition: ex.Condition, then: bool | None, otherwise: bool | None, facts: _Facts
    ) -> bool | None:
        holds = self.formula(condition, facts)
        if holds is None:
            return then if then == otherwise else None
        return then if holds else otherwise

    def value(self, expr: ex.Expr, facts: _Facts) -> _Answer:
        """Return the assumed text of an expression; None if absent, `...` if still open."""
        number = self.names.number(expr)
        ways: tuple[str | None, ...] = (*sorted(self.named.get(number, ())), _OTHER_TEXT)
        if expr.kind is ex.Kind.FLAG:
            ways = ("Y", "N")
        if expr.nullable or (isinstance(expr, ex.ColumnOf) and expr.column in MASKABLE_COLUMNS):
            ways = (None, *ways)
        return self.ask(number, ways, facts)

    def one_of(self, expr: ex.Expr, values: tuple[str, ...], facts: _Facts) -> bool | None:
        """Return whether an expression is one of some texts."""
        match expr:
            case ex.Constant(value=value):
                return value in values
            case ex.Absent():
                return False
            case ex.Cast(operand=operand, kind=kind) if kind in _SAME_TEXT:
                return self.one_of(operand, values, facts)
            case ex.FirstOf(parts=(first, *rest)):
                answer = self.one_of(first, values, facts)
                if not rest:
                    return answer
                later = self.one_of(ex.FirstOf(tuple(rest), expr.kind), values, facts)
                return _any_true((answer, _all_true((_not(self.is_present(first, facts)), later))))
            case ex.Choice(condition=condition, then=then, otherwise=otherwise):
                return self._choose(
                    condition,
                    self.one_of(then, values, facts),
                    self.one_of(otherwise, values, facts),
                    facts,
                )
            case ex.Concat() | ex.Prefix():
                return self.opaque_truth(ex.OneOf(expr, values), facts, expr)
            case _:
                return self._compare_value(expr, values, facts)

    def _compare_value(self, expr: ex.Expr, values: tuple[str, ...], facts: _Facts) -> bool | None:
        if self.is_present(expr, facts) is False:
            return False
        number = self.names.number(expr)
        known_texts = self.named.setdefault(number, set())
        if not known_texts.issuperset(values):
            if number in facts:  # assumed before this comparison was seen
                return self.opaque_truth(ex.OneOf(expr, values), facts, expr)
            known_texts.update(values)
        text = self.value(expr, facts)
        return None if text is ... else text in values


def _all_true(answers: Iterable[bool | None]) -> bool | None:
    """Return whether all answers are true; stops at the first false one."""
    result: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


def _any_true(answers: Iterable[bool | None]) -> bool | None:
    """Return whether an answer is true; stops at the first true one."""
    return _not(_all_true(map(_not, answers)))


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer
