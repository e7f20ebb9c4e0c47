"""Band arithmetic that a request may ask for: bounded, and free of what hangs or ends the process.

rio-tiler admits a syntax tree by its kinds of nodes and numexpr then works on it. Two things that pass do harm: numexpr
computes powers of constants as Python's integers, which for `9**9**9` blocks every thread for minutes. And it divides
integers by the processor's instruction, which ends the whole process for the least integer divided by -1, as in
`(b1*0-2147483647-1) % (b1*0-1)`.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
from typing import Final

from numexpr.expressions import functions as numexpr_functions
from rio_tiler.expression import validate_expression

from algorithms.errors import ParameterError

LONGEST_EXPRESSION: Final = 4096
"""Characters of an expression."""
MOST_PARTS: Final = 64
"""Bands of the result."""
MOST_NODES: Final = 1000
"""Nodes of one part's syntax tree."""
DEEPEST_EXPRESSION: Final = 120
"""Levels of one part's syntax tree; a sum of 100 terms has as many."""
LARGEST_EXPONENT: Final = 64
"""Exponent of a constant."""
REDUCTIONS: Final = frozenset({"sum", "prod", "min", "max"})
"""Functions of numexpr that do not work pixel by pixel."""

_NAME: Final = re.compile(r"b([0-9]{1,5})", re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z_]\w*|(?:\d|\.\d)[\w.]*|\s+|.", re.ASCII)
_OPERAND: Final = re.compile(r"[\w.]*\w[\w.]*", re.ASCII)
_REMEDY: Final = "write for example (b4-b3)/(b4+b3)"


def with_lost_plus(expression: str) -> str:
    """An expression with `+` where only a space stands between two operands.

    In an address + stands for a space, and (b4-b3)/(b4+b3) is sent as it is: no expression has operands side by side.
    """
    tokens = _TOKEN.findall(expression)
    for k in range(1, len(tokens) - 1):
        before, token, after = tokens[k - 1 : k + 2]
        if not token.strip(" ") and _side_by_side(before, after):
            tokens[k] = "+"
    return "".join(tokens)


def _side_by_side(before: str, after: str) -> bool:
    """Whether one token ends an operand and the next one begins another."""
    if keyword.iskeyword(before) or keyword.iskeyword(after):
        return False
    if after == "(" and before in numexpr_functions:
        return False
    ends, begins = before == ")" or _OPERAND.fullmatch(before), after == "(" or _OPERAND.fullmatch(after)
    return bool(ends and begins)


def check_expression(expression: str) -> None:
    """Refuse an expression that is too long, or that harms the process.

    Raises:
        ParameterError: with what is wrong and what to write. What rio-tiler refuses is left to rio-tiler.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise ParameterError(
            f"expression has {len(expression)} characters; up to {LONGEST_EXPRESSION} are accepted: write a shorter one"
        )
    parts = [part for part in expression.split(";") if part.strip()]
    if not parts:
        raise ParameterError(f"expression {expression[:80]!r} is empty; {_REMEDY}")
    if len(parts) > MOST_PARTS:
        raise ParameterError(f"expression has {len(parts)} parts; up to {MOST_PARTS} are accepted: leave some out")
    for part in parts:
        _check_part(part.strip())


def _check_part(part: str) -> None:
    try:
        tree = ast.parse(part, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParameterError(f"expression {part[:80]!r} cannot be read: {str(error)[:80]}; {_REMEDY}") from error
    nodes = 0
    row: list[ast.AST] = [tree.body]
    depth = 0
    while row:
        depth, nodes = depth + 1, nodes + len(row)
        if nodes > MOST_NODES or depth > DEEPEST_EXPRESSION:
            raise ParameterError(
                f"expression {part[:80]!r} has more than {MOST_NODES} terms or {DEEPEST_EXPRESSION} levels; "
                "write a shorter one"
            )
        for node in row:
            _check_node(part, node)
        row = [child for node in row for child in ast.iter_child_nodes(node)]


def _check_node(part: str, node: ast.AST) -> None:
    shown = f"expression {part[:80]!r}"
    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ParameterError(
                f"{shown} contains {str(value)[:40]!r}, which is not a finite number; write one that is"
            )
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ParameterError(f"{shown} contains an integer beyond 64 bits; write it as {value:.6e}")
    elif isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else "?"
        if name in REDUCTIONS or name not in numexpr_functions:
            raise ParameterError(
                f"{shown} calls {name[:40]!r}, which is not a function of single pixels; use for example sqrt"
            )
    elif isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Pow) and _constant(node.right):
            plain = not _constant(node.left) or _number(node.left) is not None
            if not (plain and _small(node.right)):
                raise ParameterError(
                    f"{shown} raises to a power that is not a plain number up to {LARGEST_EXPONENT}; write the value"
                )
        if isinstance(node.op, (ast.Mod, ast.FloorDiv)) and not _positive(node.right):
            raise ParameterError(
                f"{shown} divides by something other than a positive number with % or //; use / instead"
            )


def _constant(node: ast.AST) -> bool:
    """Whether numexpr computes a subtree before it sees any pixel."""
    return not any(isinstance(child, ast.Name) for child in ast.walk(node))


def _number(node: ast.AST) -> float | None:
    """The value of a number with or without a sign."""
    sign = 1.0
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        sign, node = -sign if isinstance(node.op, ast.USub) else sign, node.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return sign * float(node.value) if abs(node.value) < 1e300 else math.inf
    return None


def _small(node: ast.AST) -> bool:
    value = _number(node)
    return value is not None and abs(value) <= LARGEST_EXPONENT


def _positive(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and node.value > 0


def expression_bands(expression: str) -> tuple[int, ...]:
    """Numbers of the bands that an expression takes, in their order.

    Raises:
        ParameterError: a name that is not a band. InvalidExpression: what rio-tiler refuses.
    """
    validate_expression(expression)
    names: set[str] = set()
    for part in expression.split(";"):
        if part.strip():
            tree = ast.parse(part.strip(), mode="eval")
            called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
            names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}
    if strange := sorted(name for name in names if _NAME.fullmatch(name) is None):
        raise ParameterError(
            f"expression {expression[:80]!r} names {strange[0][:40]!r}, which is not a band; {_REMEDY}"
        )
    if not names:
        raise ParameterError(f"expression {expression[:80]!r} names no band; {_REMEDY}")
    return tuple(sorted({int(name[1:]) for name in names}))
