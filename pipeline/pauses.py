"""The speaker's own pauses: who pauses long inside a turn is given longer before the turn is taken for over. Pure."""

from __future__ import annotations

import math
from collections import deque

_QUANTILE = 0.9
_MOST_PAUSES = 256
"""The oldest are forgotten beyond it: memory and time stay bounded in a turn without end."""
_LEAST_WEIGHT = 1e-3


class PauseHabit:
    """What one speaker's pauses inside turns ask of the silence that ends a turn.

    Each pause weighs `memory ** (turns ended since)`. From the pauses and their weights

        patience = the shortest pause that 90 % of the weight does not exceed; 0 without pauses
        trust    = weight of all pauses / (weight of all pauses + doubt)
        calm     = 1 - memory ** (turns without a pause, since the last pause)
        floor    = silence_ms * (1 - (1 - low) * calm)
        stretch  = min(floor + trust * max(0, margin * patience - floor), high * silence_ms)

    So a speaker unheard is given the base, one long pause is nearly believed, and turns without a pause let the trust
    fade: back to the base, or below it, toward `low` times the base, if `low` is less than 1. The result is always from
    `low` to `high` times the base, and never falls when a pause was longer. Deterministic: there is no clock.
    """

    def __init__(
        self, *, low: float = 1.0, high: float = 1.6, margin: float = 1.15, memory: float = 0.7, doubt: float = 0.25
    ) -> None:
        """Begin with a speaker unheard.

        :param low: the least that the base may be multiplied by, above 0 and at most 1.
        :param high: the most, 1 or more.
        :param margin: by how much the silence is to exceed the pauses, 1 or more.
        :param memory: the part of its weight that a pause keeps when a turn ends, 0 or more and less than 1.
        :param doubt: the weight, in pauses, against believing the pauses at all; 0 believes the first one wholly.
        :raises ValueError: one of these is out of its range.
        """
        _check("low", low, 0.0 < low <= 1.0, "above 0 and at most 1")
        _check("high", high, high >= 1.0, "1 or more")
        _check("margin", margin, margin >= 1.0, "1 or more")
        _check("memory", memory, 0.0 <= memory < 1.0, "0 or more and less than 1")
        _check("doubt", doubt, doubt >= 0.0, "0 or more")
        self._low, self._high, self._margin, self._memory, self._doubt = low, high, margin, memory, doubt
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_MOST_PAUSES)
        """(length in ms, weight), the oldest first."""
        self._restless = 1.0
        """`1 - calm`."""
        self._paused_in_turn = False

    def note(self, pause_ms: float) -> None:
        """Take in a pause inside the turn, after which the speaker went on.

        :raises ValueError: it is negative or not finite.
        """
        _check("pause_ms", pause_ms, pause_ms >= 0.0, "0 or more")
        self._pauses.append((float(pause_ms), 1.0))
        self._restless = 1.0
        self._paused_in_turn = True

    def end_of_turn(self) -> None:
        """The speaker's turn is over: what was heard so far weighs less from now on."""
        if not self._paused_in_turn:
            self._restless *= self._memory
        self._paused_in_turn = False
        faded = [(length, weight * self._memory) for length, weight in self._pauses]
        self._pauses = deque((pause for pause in faded if pause[1] >= _LEAST_WEIGHT), maxlen=_MOST_PAUSES)

    @property
    def patience_ms(self) -> float:
        """The weighted 90th percentile of the pauses heard, without margin; 0 while there are none."""
        enough = _QUANTILE * sum(weight for _, weight in self._pauses)
        covered = longest = 0.0
        for length, weight in sorted(self._pauses):
            covered += weight
            longest = length
            if covered >= enough:
                break
        return longest

    def stretch(self, silence_ms: float) -> float:
        """The silence to wait, in ms, where a speaker without habits would be given `silence_ms`.

        :raises ValueError: `silence_ms` is negative or not finite.
        """
        _check("silence_ms", silence_ms, silence_ms >= 0.0, "0 or more")
        floor = silence_ms * (1.0 - (1.0 - self._low) * (1.0 - self._restless))
        weight = sum(weight for _, weight in self._pauses)
        trust = weight / (weight + self._doubt) if weight else 0.0
        wanted = floor + trust * max(0.0, self._margin * self.patience_ms - floor)
        return max(self._low * silence_ms, min(wanted, self._high * silence_ms))


def _check(name: str, value: float, holds: bool, allowed: str) -> None:
    if not (math.isfinite(value) and holds):
        raise ValueError(f"{name}: found {value}; allowed: a finite number, {allowed}")
