"""How words are to be spoken: the user's own list. Whole words, any case, the longest first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

_CLOSED = r"[^\W_]"
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]")


class Lexicon:
    """A compiled pronunciation list.

    :param words: written form to spoken form. White space within a written form matches any; empty forms are ignored.
        At an end of a written form that is a letter or digit, a match must end a word (but not in scripts that put no
        space between words).
    """

    def __init__(self, words: Mapping[str, str]) -> None:
        self._spoken: dict[str, str] = {}
        for written, spoken in words.items():
            key = _key(written)
            if key:
                self._spoken[key] = " ".join(spoken.split())
        keys = sorted(self._spoken, key=lambda key: (-len(key), key))
        self._pattern = re.compile("|".join(map(_as_pattern, keys)), re.IGNORECASE) if keys else None

    def replace(self, text: str, protect: Callable[[str], str]) -> str:
        """Put spoken forms in; `protect` gives what stands in the text for one until the end."""
        if self._pattern is None:
            return text

        def spoken(found: re.Match[str]) -> str:
            known = self._spoken.get(_key(found.group()))
            return found.group() if known is None else protect(known)

        return self._pattern.sub(spoken, text)


def _key(written: str) -> str:
    plain = unicodedata.normalize("NFC", written).replace("’", "'").replace("‘", "'")
    return " ".join(plain.casefold().split())


def _as_pattern(key: str) -> str:
    body = r"\s+".join(map(re.escape, key.split(" ")))
    before = f"(?<!{_CLOSED})" if _is_closed(key[0]) else ""
    after = f"(?!{_CLOSED})" if _is_closed(key[-1]) else ""
    return f"{before}{body}{after}"


def _is_closed(char: str) -> bool:
    return char.isalnum() and not _IS_UNSPACED.match(char)
