"""Whether a tool call is the expected one. The rules are written down in docs/tool-calling.md. Pure."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from antiphon.benchmarks.tools.requests import BenchTool, ToolRequest
from antiphon.engines.protocols import ToolCall

_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
           "november", "december")  # fmt: skip
_DAY_FILLERS = frozenset({"on", "the", "this", "coming", "of"})
_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d{2}))?(?::\d{2})?(am|pm)?")
_MOST_NODES = 60
_LARGEST_POWER = 64
_OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def exact(calls: Sequence[ToolCall], request: ToolRequest, tools: Mapping[str, BenchTool]) -> bool:
    """Whether the calls of an answer are exactly what the request needs."""
    distinct = {(call.name, call.arguments) for call in calls}
    if request.tool is None:
        return not distinct
    if len(distinct) != 1:
        return False
    ((name, text),) = distinct
    if name != request.tool:
        return False
    try:
        given = json.loads(text)
    except ValueError:
        return False
    if not isinstance(given, dict):
        return False
    return not request.accept or any(agree(given, accepted, tools[name]) for accepted in request.accept)


def agree(given: Mapping[str, Any], expected: Mapping[str, Any], tool: BenchTool) -> bool:
    """Whether the arguments of a call are the expected ones."""
    properties: Mapping[str, Any] = tool.spec.parameters.get("properties", {})
    if set(given) - set(properties):
        return False
    for name, schema in properties.items():
        rule = RULES[tool.match[name]]
        default = schema.get("default")
        value = default if given.get(name) in (None, "") else given[name]
        wanted = expected.get(name, default)
        choices = wanted if isinstance(wanted, list) else [wanted]
        if value is None:
            if None not in choices:
                return False
        elif not any(choice is not None and rule(value, choice) for choice in choices):
            return False
    return True


def _plain(value: Any) -> str:
    """Lower case, without punctuation but for what is inside numbers; hyphens and apostrophes close up."""
    text = str(value).casefold().replace("-", "").replace("'", "").replace("’", "")
    return " ".join(re.sub(r"[^\w]+", " ", text).split())


def _exact(given: Any, expected: Any) -> bool:
    return isinstance(given, str) and _plain(given) == _plain(expected)


def _place(given: Any, expected: Any) -> bool:
    return isinstance(given, str) and _plain(given.partition(",")[0]) == _plain(expected)


def _number(given: Any, expected: Any) -> bool:
    if isinstance(given, bool):
        return False
    try:
        return float(given) == float(expected)
    except (TypeError, ValueError):
        return False


def _day(given: Any, expected: Any) -> bool:
    return isinstance(given, str) and _day_key(given) == _day_key(expected)


def _day_key(text: Any) -> Any:
    words = [word for word in _plain(text).split() if word not in _DAY_FILLERS]
    months = [index for word in words for index, month in enumerate(_MONTHS) if word in (month, month[:3])]
    numbers = [int(match.group(1)) for word in words if (match := re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)?", word))]
    if len(words) == 2 and len(months) == len(numbers) == 1:
        return months[0], numbers[0]
    return tuple(words)


def _time(given: Any, expected: Any) -> bool:
    return isinstance(given, str) and (minutes := _clock(given)) is not None and minutes == _clock(str(expected))


def _clock(text: str) -> int | None:
    """Minutes since midnight; None: no time of day."""
    plain = re.sub(r"[\s]+", "", text.casefold().replace("a.m.", "am").replace("p.m.", "pm").removeprefix("at "))
    if plain in ("noon", "midnight"):
        return 720 if plain == "noon" else 0
    match = _CLOCK.fullmatch(plain)
    if match is None:
        return None
    hour, minute, half = int(match.group(1)), int(match.group(2) or 0), match.group(3)
    if half and not 1 <= hour <= 12:
        return hour * 60 + minute if half == "pm" and 12 < hour < 24 else None
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return hour * 60 + minute if hour < 24 and minute < 60 else None


def _value(given: Any, expected: Any) -> bool:
    result = evaluate(str(given)) if isinstance(given, str | int | float) and not isinstance(given, bool) else None
    return result is not None and abs(result - float(expected)) < 1e-6


def evaluate(expression: str) -> float | None:
    """The value of an arithmetic expression; None: it is none."""
    text = re.sub(r"[$€£]|(?<=\d),(?=\d{3}\b)", "", expression).replace("×", "*").replace("÷", "/").replace("^", "**")
    text = re.sub(r"(?<=[\d)\s])x(?=[\d(\s])", "*", text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _computed(tree.body) if sum(1 for _ in ast.walk(tree)) <= _MOST_NODES else None
    except (SyntaxError, ValueError, ArithmeticError, MemoryError, RecursionError, TypeError):
        return None


def _computed(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_computed(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _computed(node.left), _computed(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > _LARGEST_POWER:
            raise ValueError("too large a power")
        return _OPERATORS[type(node.op)](left, right)
    raise ValueError("no arithmetic")


def _words(given: Any, expected: Any) -> bool:
    if not isinstance(given, str):
        return False
    words = _plain(given).split()
    return all(any(word.startswith(wanted) for word in words) for wanted in _plain(expected).split())


RULES: Mapping[str, Callable[[Any, Any], bool]] = {
    "exact": _exact,
    "place": _place,
    "number": _number,
    "day": _day,
    "time": _time,
    "value": _value,
    "words": _words,
}
"""Rule to (given, expected) -> whether they agree. `given` is never None."""
