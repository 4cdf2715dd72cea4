"""Keeps a model's thinking out of what is spoken, however the tags are split over chunks."""

from __future__ import annotations

import re

from antiphon.engines.llm.llama_text import held_suffix

PAIRS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    # The channel format: everything before the final channel is not for the user.
    ("<|channel|>analysis", "<|channel|>final<|message|>"),
    ("<|channel|>commentary", "<|channel|>final<|message|>"),
)
"""Opening and closing tags, compared without regard to case of ASCII letters."""

MARKERS: tuple[str, ...] = tuple(dict.fromkeys(tag for pair in PAIRS for tag in pair))

_CLOSES = {opening.lower(): closing for opening, closing in PAIRS}
_ANY = re.compile("|".join(re.escape(tag) for tag in MARKERS), re.IGNORECASE | re.ASCII)
_LOWER_MARKERS = tuple(tag.lower() for tag in MARKERS)
_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def open_block(prompt: str) -> str:
    """The closing tag that a prompt leaves for the model to write, or "".

    Some chat templates end the prompt inside a thinking block, so the answer begins in it without an opening tag.
    """
    match = re.search(rf"({_ANY.pattern})\s*\Z", prompt[-200:], re.IGNORECASE | re.ASCII)
    return _CLOSES.get(match.group(1).lower(), "") if match else ""


class ThinkingFilter:
    """Passes text through without thinking blocks, tags included.

    A block that is never closed swallows the rest; a closing tag without an opening one is removed. The first closing
    tag of the block's kind ends it: blocks do not nest.

    :param inside: the closing tag to wait for if the text begins inside a block (see :func:`open_block`).
    """

    def __init__(self, inside: str = "") -> None:
        self._inside = inside.lower()
        self._held = ""

    def feed(self, text: str) -> str:
        text, self._held = self._held + text, ""
        out: list[str] = []
        while text:
            if self._inside:
                text = self._skip(text)
                continue
            match = _ANY.search(text)
            if match is None:
                keep = len(text) - held_suffix(_lower(text), _LOWER_MARKERS)
                out.append(text[:keep])
                self._held = text[keep:]
                break
            out.append(text[: match.start()])
            self._inside = _CLOSES.get(match.group().lower(), "").lower()
            text = text[match.end() :]
        return "".join(out)

    def finish(self) -> str:
        """What was held back and turned out to be no tag."""
        held, self._held = self._held, ""
        return "" if self._inside else held

    def _skip(self, text: str) -> str:
        lowered = _lower(text)
        position = lowered.find(self._inside)
        if position >= 0:
            end = position + len(self._inside)
            self._inside = ""
            return text[end:]
        held = held_suffix(lowered, (self._inside,))
        self._held = text[len(text) - held :] if held else ""
        return ""


def _lower(text: str) -> str:
    """Lower case for ASCII letters only: unlike `str.lower`, never changes the length."""
    return text.translate(_ASCII_LOWER)
