"""Signs in its wording that a request is one for a tool: shared words, numbers, the form of a sentence. Pure.

A likelihood says how well a request goes with a tool's description; it does not tell "Dim the lamp" from "I like that
lamp". These signs do. They know English and the tool's own schema, and nothing of any particular tool. The weights are
in nats, to be added to a log-likelihood ratio; they are a logistic regression on the tuning requests of
`benchmarks/tools` (docs/tool-calling.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from antiphon.engines.llm.spoken_numbers import in_digits, numbers_in
from antiphon.engines.protocols import ToolSpec

DESCRIBED = 4.5
"""The request shares a word with the tool's name or description."""
ARGUED = 1.5
"""It shares one with the tool's arguments."""
NUMBERED = 6.0
"""The tool cannot do without a number, and the request has one."""
UNNUMBERED = -8.0
"""The same, and it has none."""
ASKING = 1.5
"""It has words with which something is asked for."""
TELLING = -5.0
"""It is a statement, not a wish or a question."""
CONTENT_WORD = 1.0
"""Each word of it that means something by itself..."""
_MOST_CONTENT_WORDS = 6
"""...up to so many: who wants something done says what."""

_FUNCTION_WORDS = frozenset(
    """
    a about again all also am an and any are as at be bye by can could did do does don't for from get go going good had
    has have he hello her hey hi him his hmm how i if in into is isn't it its it's just know let like may me mean meant
    moment my no not of off oh ok okay on one or our out please put really right said say set she should so sorry still
    such than thank thanks that that's the their them then there they thing think this to too uh um up us very wait was
    we well were what when where which who why will with would yes you your
    """.replace("'", "").split()
)  # fmt: skip
_ASKING = re.compile(
    r"\b(?:please|(?:can|could|would|will) you|(?:can|could) (?:i|we)|i want|i'?d like|i would like|i need|for me|"
    r"let me|(?:tell|give|get|show) me|put|set|turn|switch|find|look up|check|add|start)\b",
    re.IGNORECASE,
)
_TELLING = re.compile(
    r"(?:(?:well|oh|um|uh|so|yes|no|hey|okay|and|but),? )*"
    r"(?:i|we|my|our|he|she|they|his|her|their|that|it|the|you|your|this|there)\b",
    re.IGNORECASE,
)
_TOOLS_KEPT = 256


class ToolWords:
    """What of a tool's schema is looked for in a request."""

    def __init__(self, tool: ToolSpec) -> None:
        properties = tool.parameters.get("properties")
        properties = properties if isinstance(properties, Mapping) else {}
        name = re.sub(r"([a-z])([A-Z])", r"\1 \2", tool.name).replace("_", " ")
        self.described = _stems(f"{name} {tool.description}")
        self.argued = _stems(" ".join(_texts(properties))) - self.described
        self.needs_number = _needs_number(properties, tool)
        self.counts_units = len(properties) > 1 and _numeric(properties) == set(properties)


def bonus(tool: ToolSpec, said: str) -> float:
    """Nats by which the wording of a request speaks for (or against) calling the tool."""
    words, stems = _words_of(tool), _stems(said)
    nats = DESCRIBED * bool(stems & words.described) + ARGUED * bool(stems & words.argued)
    if words.needs_number:
        if not numbers_in(in_digits(said)):
            nats += UNNUMBERED
        elif not words.counts_units or stems & words.argued:  # where several numbers go by unit, one has to be named
            nats += NUMBERED
    asks = _ASKING.search(said) is not None
    nats += ASKING * asks
    if not asks and not said.rstrip().endswith("?") and _TELLING.match(said.lstrip()):
        nats += TELLING
    return nats + CONTENT_WORD * min(len(_content(said)), _MOST_CONTENT_WORDS)


# ---------------------------------------------------------------------------------------------- inside


_kept: dict[tuple[str, str, str], ToolWords] = {}
"""Of recent tools."""


def _words_of(tool: ToolSpec) -> ToolWords:
    key = (tool.name, tool.description, repr(tool.parameters))
    if key not in _kept:
        if len(_kept) >= _TOOLS_KEPT:
            _kept.clear()
        _kept[key] = ToolWords(tool)
    return _kept[key]


def _texts(properties: Mapping[str, Any]) -> Iterable[str]:
    for name, schema in properties.items():
        yield name.replace("_", " ")
        if isinstance(schema, Mapping):
            yield str(schema.get("description") or "")
            choices = schema.get("enum")
            yield from map(str, choices if isinstance(choices, list | tuple) else ())


def _needs_number(properties: Mapping[str, Any], tool: ToolSpec) -> bool:
    """Whether a call makes no sense without a number: its schema has nothing else, or insists on one."""
    required = tool.parameters.get("required")
    needed = [name for name in required if isinstance(name, str)] if isinstance(required, list | tuple) else []
    numeric = _numeric(properties)
    if properties and len(numeric) == len(properties):
        return True
    if numeric & set(needed):
        return True
    only = properties.get(needed[0]) if len(needed) == 1 else None
    if not isinstance(only, Mapping) or only.get("type") != "string":
        return False
    return re.search(r"\d", str(only.get("description") or tool.description)) is not None


def _numeric(properties: Mapping[str, Any]) -> set[str]:
    return {
        name
        for name, schema in properties.items()
        if isinstance(schema, Mapping) and schema.get("type") in ("integer", "number")
    }


def _content(text: str) -> list[str]:
    found = re.findall(r"[^\W_]+", text.lower().replace("'", "").replace("’", ""))
    return [word for word in found if word not in _FUNCTION_WORDS and len(word) > 1]


@lru_cache(maxsize=512)
def _stems(text: str) -> frozenset[str]:
    return frozenset(
        word[:5] if len(word) > 5 else word.rstrip("s")
        for word in _content(text)
        if len(word) > 2 and not word.isdigit() and not word.startswith("user")
    )
