"""Makes what the user said likelier inside the string values of a call's arguments. Pure but for the tokeniser."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

BONUS = 2.5
"""Added to the logit of a token that goes on with what was said, or that ends the value where a word ends."""
CORRECTED_BONUS = 2.0
"""Added on top for what follows a correction."""
_CORRECTION = re.compile(
    r"\b(?:no|sorry|wait|actually|rather|i mean(?:t)?|make (?:it|that)|scratch that|correction)\b", re.IGNORECASE
)
_KEY = re.compile(r'"([^"]*)"\s*:\s*"$')
_WORD = re.compile(r"\w[\w:.'’%-]*")


class CopyBias:
    """The bonus of tokens while arguments are written.

    :param said: what the user said.
    :param first_token: the first token of a text; None: it has none.
    :param closing: tokens that begin with a quotation mark.
    :param worded: names of arguments that do not begin with a number.
    """

    def __init__(
        self,
        said: str,
        first_token: Callable[[str], int | None],
        closing: Sequence[int],
        worded: Collection[str] = (),
    ) -> None:
        self._worded = worded
        self._said, self._folded = said, said.casefold()
        self._first_token, self._closing = first_token, closing
        self._starts = [match.start() for match in _WORD.finditer(said)]
        corrections = [match.end() for match in _CORRECTION.finditer(said)]
        self._corrected = corrections[-1] if corrections else len(said)

    def of(self, written: str) -> dict[int, float]:
        """Token to bonus after the arguments' JSON so far; empty outside of string values."""
        value = open_value(written)
        no_number = value == "" and (key := _KEY.search(written)) is not None and key.group(1) in self._worded
        if value is None or len(self._folded) != len(self._said):
            return {}
        bonus: dict[int, float] = {}
        for start in self._starts:
            end = start + len(value)
            if no_number and self._said[start].isdigit():
                continue
            if end > len(self._said) or self._folded[start:end] != value.casefold():
                continue
            strength = BONUS + (CORRECTED_BONUS if start >= self._corrected else 0.0)
            if end < len(self._said):
                self._raise(bonus, self._first_token(self._said[end:]), strength)
            if value and not re.match(r"\w", self._said[end : end + 1]):
                for token in self._closing:
                    self._raise(bonus, token, strength)
        return bonus

    @staticmethod
    def _raise(bonus: dict[int, float], token: int | None, strength: float) -> None:
        if token is not None:
            bonus[token] = max(bonus.get(token, 0.0), strength)


def open_value(written: str) -> str | None:
    """The string value that is being written at the end of a piece of JSON; None: none is."""
    opened = -1
    escaped = False
    before = ""
    for index, char in enumerate(written):
        if opened >= 0:
            if escaped:
                escaped = False
            elif char == "\\":
                escaped = True
            elif char == '"':
                opened = -1
        elif char == '"':
            opened = index + 1
            before = written[:index].rstrip()
    return written[opened:] if opened >= 0 and before.endswith((":", "[")) else None
