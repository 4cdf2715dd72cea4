"""HTML and SVG as strings that cannot be left unescaped by accident.

Every text that is not already :class:`Html` is escaped where it enters. A number must be finite: a NaN in an SVG
attribute would silently remove the mark from the picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape
from typing import TypeAlias

VOID = frozenset({"br", "col", "hr", "input", "link", "meta", "wbr"})
EMPTY_SVG = frozenset({"circle", "ellipse", "line", "path", "polygon", "polyline", "rect", "use"})


class Html(str):
    """Markup that is safe as it stands."""

    __slots__ = ()


Child: TypeAlias = "str | Html | Iterable[Child] | None"
Attribute: TypeAlias = "str | float | bool | None"

NBSP = "\u00a0"


def join(*children: Child) -> Html:
    """Children one after another; a plain string is escaped, None is nothing."""
    return Html("".join(_texts(children)))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element.

    A trailing underscore of an attribute's name is dropped and the others become hyphens (`class_`, `aria_label`).
    None and False leave an attribute out, True writes it without a value.

    :raises ValueError: a number among the attributes is not finite.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    inner = join(*children)
    if name in VOID:
        return Html(f"<{name}{written}>")
    if name in EMPTY_SVG and not inner:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{inner}</{name}>")


def breakable(name: str) -> Html:
    """A long name that may go on in the next line after an underscore, a hyphen, a slash or a full stop."""
    return Html("<wbr>".join(escape(part) for part in re.split(r"(?<=[_/.-])(?=[^_/.-])", name)))


def number(value: float) -> str:
    """A number for an attribute: at most two decimals.

    :raises ValueError: it is not finite.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} cannot be drawn")
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def percent(value: float) -> str:
    """A position or length in per cent of the picture's width, for an attribute."""
    return f"{number(value)}%"


def _attribute(key: str, value: Attribute) -> str:
    if value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = escape(value) if isinstance(value, str) else number(float(value or 0.0))
    return f' {name}="{text}"'


def _texts(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            yield str(child)
        elif isinstance(child, str):
            yield escape(child)
        else:
            yield from _texts(child)
