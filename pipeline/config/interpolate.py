"""`${NAME}` and `${NAME:-default}` in values; `$${` stands for a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from antiphon.pipeline.config.errors import Problem
from antiphon.pipeline.config.tree import Entry, Items, Node, Scalar, Section

_EXPRESSION = re.compile(
    r"(?P<escape>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(:-(?P<default>[^{}]*))?\}|(?P<bad>\$\{)"
)


def escape(text: str) -> str:
    """Text that interpolation turns back into `text`."""
    return text.replace("${", "$${")


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """The text with variables filled in, and a sentence for each that could not be.

    As in a shell, the default of `:-` counts where the variable is unset or empty.
    """
    wrong: list[str] = []

    def fill(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        if match["bad"]:
            wrong.append("'${' begins no valid expression: write ${NAME}, ${NAME:-default}, or $${ for a literal ${")
            return ""
        value = environ.get(match["name"])
        if match["default"] is not None:
            return value or match["default"]
        if value is None:
            wrong.append(f"the environment variable {match['name']} is not set")
            return ""
        return value

    return _EXPRESSION.sub(fill, text), wrong


def variables(text: str) -> list[str]:
    """The names of the variables that a text asks for, in order."""
    return list(dict.fromkeys(match["name"] for match in _EXPRESSION.finditer(text) if match["name"]))


def interpolate_tree(node: Node, environ: Mapping[str, str], problems: list[Problem], key: str = "") -> Node:
    """The same tree with every value interpolated; keys stay as they are."""
    if isinstance(node, Scalar):
        return _scalar(node, environ, problems, key)
    if isinstance(node, Items):
        items = (
            interpolate_tree(item, environ, problems, join(key, str(index))) for index, item in enumerate(node.items)
        )
        return replace(node, items=tuple(items))
    entries = {
        name: Entry(entry.origin, interpolate_tree(entry.node, environ, problems, join(key, name)))
        for name, entry in node.entries.items()
    }
    return Section(entries, node.origin)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _scalar(scalar: Scalar, environ: Mapping[str, str], problems: list[Problem], key: str) -> Scalar:
    if "${" not in scalar.text:
        return scalar
    text, wrong = interpolate(scalar.text, environ)
    for message in wrong:
        hint = "Set it, or give a default: ${NAME:-default}." if "is not set" in message else ""
        problems.append(Problem(message, scalar.origin, key, hint))
    return replace(scalar, text=text, written=scalar.text, broken=bool(wrong))
