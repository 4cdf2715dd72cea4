"""Text that every file, store and voice can take."""

from __future__ import annotations


def encodable(text: str) -> str:
    """The text, with a replacement character for each half of a surrogate pair: those cannot be written as UTF-8."""
    if text.isascii():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text)
