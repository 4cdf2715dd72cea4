"""A few tools that need nothing but this machine. In YAML: `function: antiphon.pipeline.agent.toolbox:calculate`."""

from __future__ import annotations

import ast
import asyncio
import datetime
import math
import operator
from collections.abc import Callable
from typing import Any

_OPERATORS: dict[type[Any], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_LONGEST_EXPRESSION = 200
_LARGEST_POWER = 100
LONGEST_TIMER_S = 24 * 3600.0


def current_time() -> str:
    """The current time of day and date."""
    now = datetime.datetime.now().astimezone()
    hour = now.hour % 12 or 12
    return f"It is {hour}:{now.minute:02d} {'AM' if now.hour < 12 else 'PM'} on {now:%A, %B} {now.day}, {now.year}."


def calculate(expression: str) -> str:
    """Work out an arithmetic expression, for example 12 * (3 + 4)."""
    text = expression.replace("x", "*").replace("×", "*").replace("÷", "/").replace("^", "**").replace(",", "")
    if len(text) > _LONGEST_EXPRESSION:
        return "That is too long to work out."
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except ZeroDivisionError:
        return "That divides by zero."
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
        return f"'{expression}' cannot be worked out: give numbers, + - * / and brackets."
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e15 else float(f"{value:.10g}")
    return f"{expression.strip()} is {value}."


async def set_timer(seconds: float) -> str:
    """Set a timer for a number of seconds (a minute is 60)."""
    if not 0 < seconds <= LONGEST_TIMER_S or not math.isfinite(seconds):
        return "A timer can be set for up to 24 hours."
    await asyncio.sleep(seconds)
    return "The timer is over."


def _value(node: ast.expr) -> Any:
    """:raises ValueError: it is no plain arithmetic."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow) and (abs(right) > _LARGEST_POWER or abs(left) > 1e6):
            raise ValueError("too large")
        return _OPERATORS[type(node.op)](left, right)
    raise ValueError("no arithmetic")
