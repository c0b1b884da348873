"""Arithmetic and conditions over field names, as search spaces write them.

An expression is parsed once, checked against a whitelist of syntax, and then evaluated on arrays: field
names, numbers, ``+ - * / // %``, comparisons (chained too), ``and``/``or``/``not``, ``min`` and ``max``.
Everything else (attributes, other calls, subscripts, strings, lambdas ...) is refused with its column, so a
space file from a stranger cannot run code.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from archsearch.arrays import Column
from archsearch.errors import InvalidInputError, UnknownNameError
from archsearch.workload import MAX_DIMENSION

Value = float | np.generic | Column
"""What an expression is made of: a number, a truth, or an array of such."""
_MAX_LENGTH = 500
MOST_CONSTANT = 2.0**53
"""Largest number that an expression may name: beyond it not every whole number is one in double precision."""
_EXACT = 2**62
"""Whole numbers below it are computed as 64-bit integers; of larger results as doubles, which do not wrap around."""


def _unwrapped(
    compute: Callable[[Column, Column], Column], most: Callable[[int, int], int]
) -> Callable[[Value, Value], Value]:
    """An operation on whole numbers that goes over to doubles where the result might not fit: ``most`` bounds it from
    the largest of either side."""

    def computed(a: Value, b: Value) -> Value:
        one, other = np.asarray(a), np.asarray(b)
        whole = one.dtype.kind in "iub" and other.dtype.kind in "iub"
        if whole and most(_largest(one), _largest(other)) >= _EXACT:
            return compute(one.astype(np.float64), other.astype(np.float64))
        return compute(one, other)

    return computed


def _largest(values: Column) -> int:
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Value]] = {
    ast.Add: _unwrapped(operator.add, operator.add),
    ast.Sub: _unwrapped(operator.sub, operator.add),
    ast.Mult: _unwrapped(operator.mul, operator.mul),
    ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Value]] = {
    ast.USub: operator.neg,
    ast.UAdd: lambda value: value,
    ast.Not: np.logical_not,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Value]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_REDUCERS: dict[str, Callable[[Any, Any], Value]] = {"min": np.minimum, "max": np.maximum}


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: its text, the names it reads, and its syntax tree."""

    text: str
    names: frozenset[str]
    tree: ast.expr

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Parse and check an expression.

        Raises:
            InvalidInputError: not an expression, or syntax outside the whitelist; the text gives the column.
        """
        if len(text) > _MAX_LENGTH:
            raise InvalidInputError(f"expression of {len(text)} characters is too long (limit {_MAX_LENGTH})")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            column = getattr(error, "offset", None) or 1
            raise InvalidInputError(f"expression {text!r}, column {column}: not a valid expression") from None
        names: set[str] = set()
        _check(tree, text, names)
        return cls(text, frozenset(names), tree)

    def require_known(self, names: Iterable[str]) -> None:
        """Refuse names that are not fields.

        Raises:
            UnknownNameError: a name outside ``names``, with near matches.
        """
        choices = set(names)
        for name in sorted(self.names - choices):
            raise UnknownNameError("field", name, choices, hint=f"(in expression {self.text!r})")

    def require_condition(self) -> None:
        """Refuse what is no condition: a number is neither kept nor broken.

        Raises:
            InvalidInputError: it compares nothing.
        """
        if not _is_condition(self.tree):
            raise InvalidInputError(
                f"{self.text!r} is a number, not a condition: compare it, for example 'num_layers <= 24'"
            )

    def evaluate(self, values: Mapping[str, object]) -> Column:
        """Value over scalars or broadcastable arrays; the result holds only the axes of the names that it reads.

        Division by zero gives NaN, inf or 0 as NumPy defines it, without a warning: such cells are for
        constraints to exclude.

        Raises:
            InvalidInputError: a value that is no number.
        """
        try:
            with np.errstate(all="ignore"):
                return np.asarray(_evaluate(self.tree, values))
        except (TypeError, ValueError, OverflowError):  # a fixed value that is a text or a list
            raise InvalidInputError(f"expression {self.text!r} computes with what is no number") from None


def _is_condition(node: ast.expr) -> bool:
    """Whether a tree is true or false wherever it is evaluated: comparisons, and what and/or/not makes of them."""
    match node:
        case ast.Compare() | ast.Constant(value=bool()):
            return True
        case ast.BoolOp():
            return all(_is_condition(value) for value in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return _is_condition(node.operand)
    return False


def _refuse(node: ast.AST, text: str, what: str) -> InvalidInputError:
    column = getattr(node, "col_offset", 0) + 1
    legal = "legal are field names, numbers, + - * / // %, comparisons, and/or/not, min() and max()"
    return InvalidInputError(f"expression {text!r}, column {column}: {what} is not allowed; {legal}")


def _check(node: ast.AST, text: str, names: set[str]) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            if not abs(value) <= MOST_CONSTANT:
                raise _refuse(node, text, f"a number over {MOST_CONSTANT:.0f}")
            return
        case ast.Name(id=name):
            if name.startswith("_"):
                raise _refuse(node, text, f"the name {name!r}")
            names.add(name)
            return
        case ast.BinOp(op=op) if type(op) in _BINARY:
            children: list[ast.expr] = [node.left, node.right]
        case ast.UnaryOp(op=op) if type(op) in _UNARY:
            children = [node.operand]
        case ast.BoolOp():
            children = list(node.values)
        case ast.Compare(ops=ops) if all(type(op) in _COMPARE for op in ops):
            children = [node.left, *node.comparators]
        case ast.Call(func=ast.Name(id=function), keywords=[]) if function in _REDUCERS and len(node.args) >= 2:
            children = list(node.args)
        case ast.Call():
            raise _refuse(node, text, "this call")
        case _:
            raise _refuse(node, text, type(getattr(node, "op", node)).__name__)
    for child in children:
        _check(child, text, names)


def _evaluate(node: ast.expr, values: Mapping[str, object]) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Name(id=name):
            return cast("Value", values[name])
        case ast.BinOp():
            return _BINARY[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
        case ast.UnaryOp():
            return _UNARY[type(node.op)](_evaluate(node.operand, values))
        case ast.BoolOp():
            combine = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return reduce(combine, [_evaluate(value, values) for value in node.values])
        case ast.Call(func=ast.Name(id=function)):
            return reduce(_REDUCERS[function], [_evaluate(argument, values) for argument in node.args])
        case ast.Compare():
            sides = [_evaluate(side, values) for side in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return reduce(np.logical_and, [_COMPARE[type(op)](left, right) for op, left, right in pairs])
    raise AssertionError(f"unchecked node {type(node).__name__}")  # unreachable: parse() checks every node


def bounded(value: ArrayLike) -> Column:
    """Derived sizes cut at ``MAX_DIMENSION``: so large a one is refused by a rule, and computes without overflow."""
    return np.asarray(np.clip(np.asarray(value), -MAX_DIMENSION, MAX_DIMENSION))


def as_dimension(value: ArrayLike) -> Column | float:
    """Derived values as integers where they are whole numbers (``hidden_size / 64`` of a multiple of 64)."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        clean = np.where(np.isfinite(array), array, 0.0)
        if np.array_equal(clean, np.rint(clean)):
            array = clean.astype(np.int64)
    return array if array.ndim else cast("float", array.item())
