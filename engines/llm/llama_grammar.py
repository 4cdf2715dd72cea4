"""Grammars (GBNF) that make an answer valid: JSON of a schema, or a call of a known tool."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.protocols import ToolSpec

_DEPTH = 6
"""References are followed this deep; below it any value is allowed."""
_ANY: Mapping[str, Any] = {
    "anyOf": [{"type": kind} for kind in ("string", "number", "boolean", "null", "object", "array")]
}
_ESCAPED_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
"""A character above U+FFFF as JSON escapes it; a grammar would take the halves for two characters."""
_SHAPE_KEYS = ("type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "items", "prefixItems", "pattern")


def schema_grammar(schema: Mapping[str, Any]) -> str:
    """The grammar of one JSON value of the schema.

    :raises EngineRequestInvalid: the schema uses what no grammar can be made of.
    """
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        grammar: str = json_schema_to_gbnf(json.dumps(_plain(schema, schema, _DEPTH)))
    except (AssertionError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineRequestInvalid(
            f"no grammar can be made of the JSON schema: {error or type(error).__name__}",
            stage="llm",
            engine="llama_cpp",
            hint="use type, properties, required, items, enum, const, anyOf; patterns begin with ^ and end with $",
            about="schema",
        ) from error
    return _ESCAPED_PAIR.sub(lambda pair: json.loads(f'"{pair.group()}"'), grammar)


def call_grammar(tools: Sequence[ToolSpec]) -> str:
    """The grammar of `{"name": ..., "arguments": {...}}` for one of the tools, white space before it allowed."""
    grammar = schema_grammar({"anyOf": [_call_schema(tool, tool.parameters) for tool in tools]})
    return _with_lead(grammar, "[ \\t\\n]*")


def loose_call_grammar(tools: Sequence[ToolSpec]) -> str:
    """As :func:`call_grammar`, with any JSON object as arguments: for schemas that no grammar can be made of."""
    grammar = schema_grammar({"anyOf": [_call_schema(tool, {"type": "object"}) for tool in tools]})
    return _with_lead(grammar, "[ \\t\\n]*")


def arguments_grammar(tool: ToolSpec) -> str:
    """The grammar of what follows `{"name": "...", "arguments":` in a call of the tool."""
    return _with_lead(schema_grammar(_arguments_schema(tool.parameters)), '" "?', '"}"')


def loose_arguments_grammar() -> str:
    """As :func:`arguments_grammar`, with any JSON object as arguments."""
    return _with_lead(schema_grammar({"type": "object"}), '" "?', '"}"')


NO_CALL = "root ::= [^<{`]+"
"""Some text, which can hold no tool call."""


def _with_lead(grammar: str, lead: str, tail: str = "") -> str:
    lines = [f"inner ::= {line.removeprefix('root ::= ')}" if line.startswith("root ::= ") else line
             for line in grammar.splitlines()]  # fmt: skip
    return "\n".join([f"root ::= {lead} inner {tail}".rstrip(), *lines])


def _call_schema(tool: ToolSpec, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": _arguments_schema(parameters)},
        "required": ["name", "arguments"],
    }


def _arguments_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    arguments = _plain(parameters, parameters, _DEPTH)
    return arguments if "properties" in arguments else {"type": "object"}


def _plain(schema: Any, root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    """A schema without references, and with a type wherever the converter would stumble over none."""
    if not isinstance(schema, Mapping) or depth < 0:
        return dict(_ANY)
    if isinstance(reference := schema.get("$ref"), str):
        return _plain(_resolve(reference, root), root, depth - 1)
    if not any(key in schema for key in _SHAPE_KEYS):
        return dict(_ANY)
    out = {key: value for key, value in schema.items() if key not in ("$defs", "definitions", "description", "title")}
    if "enum" in out or "const" in out:
        out.pop("type", None)
    if "pattern" in out and not (str(out["pattern"]).startswith("^") and str(out["pattern"]).endswith("$")):
        out.pop("pattern")
        out.setdefault("type", "string")
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(out.get(key), list):
            out[key] = [_plain(part, root, depth) for part in out[key]]
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {name: _plain(part, root, depth) for name, part in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), Mapping):
            out[key] = _plain(out[key], root, depth)
    return out


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        if not reference.startswith("#") or not isinstance(target, Mapping):
            return None
        target = target if not part else target.get(part.replace("~1", "/").replace("~0", "~"))
    return target
