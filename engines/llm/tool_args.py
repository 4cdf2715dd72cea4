"""Arguments of a tool call, brought to what the tool's schema says, and checked against it. Pure.

Small models write `"five"` for 5, `"30%"` for 30, `"Kitchen"` for `kitchen`, and fill in optional arguments that nobody
spoke of. What means the same is converted; what is optional and was not said is left out; what is wrong stays wrong,
and is told in words that a model can use to write the call again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from antiphon.engines.llm.spoken_numbers import in_digits, number, numbers_in

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_STEM = 4
"""Letters that two words share at least to count as forms of one word."""
_ALIKE = 0.75
"""Similarity from which a word of an argument is taken for another spelling of a word that was said."""
_SUM = re.compile(r"\s*([\d\s.,+*/^()x×÷%-]*[+*/^x×÷-][\d\s.,+*/^()x×÷%-]*?)\s*=\s*-?[\d.,]*\s*")
"""Arithmetic with its result behind it: what was asked for is the left side."""
_DEPTH = 6
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class Settled:
    """Arguments after conversion."""

    arguments: dict[str, Any]
    problem: str = ""
    """What is wrong with them, as a sentence to a model; "": nothing."""


def settle(arguments: Mapping[str, Any], schema: Mapping[str, Any], said: str | None = None) -> Settled:
    """Convert and check the arguments of a call.

    :param schema: the tool's JSON Schema, of type object.
    :param said: everything that was said in the conversation; None: do not ask whether values were said.
    """
    converted = _object(arguments, schema, schema, _DEPTH)
    if said is not None:
        converted = _only_said(converted, schema, said)
    return Settled(converted, problem_of(converted, schema))


def problem_of(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What the schema has against the arguments, the first thing of it; "": nothing, or the schema is no valid one."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match

    try:
        Draft202012Validator.check_schema(schema)
        error = best_match(Draft202012Validator(schema).iter_errors(arguments))
    except (SchemaError, RecursionError):
        return ""
    if error is None:
        return ""
    where = ".".join(str(part) for part in error.absolute_path)
    return f"{where}: {error.message}" if where else str(error.message)


# ---------------------------------------------------------------------------------------------- conversion


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or depth < 0:
        return dict(value)
    required = schema.get("required", ())
    out: dict[str, Any] = {}
    for key, given in value.items():
        name = _property(key, properties)
        if name is None:
            if schema.get("additionalProperties") is True:
                out[key] = given
            continue
        if given in _EMPTY and name not in required:
            continue
        out[name] = _value(given, properties[name], root, depth - 1)
    return out


def _property(key: str, properties: Mapping[str, Any]) -> str | None:
    if key in properties:
        return key
    same = [name for name in properties if _letters(name) == _letters(key)]
    return same[0] if len(same) == 1 else None


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _value(value: Any, schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    schema = _resolved(schema, root)
    if not isinstance(schema, Mapping) or depth < 0:
        return value
    if isinstance(choices := schema.get("enum"), Sequence):
        return _choice(value, choices)
    kinds = schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds or ())
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found = _value(value, part, root, depth - 1)
        if isinstance(part, Mapping) and not problem_of({"value": found}, _holding(part, root)):
            return found
    for kind in kinds:
        found = _of_kind(value, kind, schema, root, depth)
        if found is not None:
            return found
    return value


def _resolved(schema: Any, root: Mapping[str, Any]) -> Any:
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return schema
    target: Any = root
    for part in reference[2:].split("/"):
        target = target.get(part) if isinstance(target, Mapping) else None
    return target


def _holding(part: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return {"type": "object", "properties": {"value": part}, "required": ["value"], **shared}


def _choice(value: Any, choices: Sequence[Any]) -> Any:
    """The choice that a value means; the value itself if that is not clear."""
    if value in choices:
        return value
    plain = _letters(str(value))
    same = [choice for choice in choices if _letters(str(choice)) == plain]
    if not same and plain:
        same = [choice for choice in choices if _letters(str(choice)) and _letters(str(choice)) in plain]
    return same[0] if len(same) == 1 else value


def _of_kind(value: Any, kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> Any:
    """The value as a JSON type; None: it cannot be."""
    if kind == "integer":
        found = _as_number(value)
        return int(found) if found is not None and float(found).is_integer() else None
    if kind == "number":
        return _as_number(value)
    if kind == "boolean":
        return _as_boolean(value)
    if kind == "string":
        if isinstance(value, str) and (sum_ := _SUM.fullmatch(value)):
            return sum_.group(1)
        return value if isinstance(value, str) else _as_text(value)
    if kind == "array":
        items = value if isinstance(value, list) else [value]
        return [_value(item, schema.get("items"), root, depth - 1) for item in items]
    if kind == "object":
        return _object(value, schema, root, depth) if isinstance(value, Mapping) else None
    return None


def _as_number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    return number(value) if isinstance(value, str) else None


def _as_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    plain = str(value).strip().lower()
    return True if plain in _TRUE else False if plain in _FALSE else None


def _as_text(value: Any) -> str | None:
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def by_unit(arguments: dict[str, Any], schema: Mapping[str, Any], said: str) -> dict[str, Any]:
    """Numbers that were said with an argument's name as their unit ("10 minutes") belong to that argument.

    If any was, other optional numbers that were not are left out. Of several with one unit, the last counts.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return arguments
    numeric = {
        name: one
        for name, one in properties.items()
        if isinstance(one, Mapping) and one.get("type") in ("integer", "number")
    }
    found: dict[str, str] = {}
    for name, one in numeric.items():
        units = {name.rstrip("s"), re.sub(r"\W.*", "", str(one.get("description", ""))).lower().rstrip("s")} - {""}
        pattern = "|".join(re.escape(unit).replace("_", "[ _]") for unit in units)
        sign = "|%" if "percent" in units else ""
        matches = re.findall(rf"(\d+(?:\.\d+)?)[\s-]*(?:(?:{pattern})s?\b{sign})", said, re.IGNORECASE)
        if matches:
            found[name] = matches[-1]
    if not found:
        return arguments
    required = schema.get("required", ())
    kept = {
        name: value for name, value in arguments.items() if name not in numeric or name in required or name in found
    }
    return {**kept, **found}


# ------------------------------------------------------------------------------------------ what was said


def _only_said(arguments: dict[str, Any], schema: Mapping[str, Any], said: str) -> dict[str, Any]:
    """Without optional values that nothing in the conversation speaks of; words in the spelling that was said.

    Values of an enumeration or of other types than text and number stay: they are meant, not quoted. If nothing else
    would be left, numbers stay: then they were worked out.
    """
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return arguments
    required = schema.get("required", ())
    words, figures = _words(f"{said} {in_digits(said)}"), numbers_in(said)
    out: dict[str, Any] = {}
    for key, value in arguments.items():
        declared = properties.get(key)
        default = declared.get("default") if isinstance(declared, Mapping) else None
        free = isinstance(declared, Mapping) and "enum" not in declared and "const" not in declared
        if free and isinstance(value, str):
            value = _as_said(value, words)
        if not free or key in required or _is_said(value, words, figures) or value == default:
            out[key] = value
    return out or {key: value for key, value in arguments.items() if not isinstance(value, str)}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.replace("'", "").replace("’", ""))


def _is_said(value: Any, words: Sequence[str], figures: set[float]) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return True
    if isinstance(value, int | float):
        return float(value) in figures
    own = _words(f"{value} {in_digits(value)}")
    return not own or any(_same_word(one, other) for one in own for other in words)


def _same_word(one: str, other: str) -> bool:
    one, other = one.casefold(), other.casefold()
    return one == other or (len(one) >= _STEM and len(other) >= _STEM and one[:_STEM] == other[:_STEM])


def _as_said(value: str, words: Sequence[str]) -> str:
    """A value of one word as it was said, if the model has written another spelling of it."""
    if not re.fullmatch(r"[^\W\d]{4,}", value) or any(value.casefold() == word.casefold() for word in words):
        return value
    best = max(words, key=lambda word: SequenceMatcher(None, value.casefold(), word.casefold()).ratio(), default=value)
    return best if SequenceMatcher(None, value.casefold(), best.casefold()).ratio() >= _ALIKE else value
