"""What speculation weighs, without any task or engine: texts that agree, work that is wasted, a budget for both.

An answer is begun at a pause, before anybody knows whether the turn is over. What came of it in the end is booked here:
work that became part of an answer was worth it, the rest was wasted, and the waste has a bound.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from antiphon.engines.host import Meter


def same_words(one: str, other: str) -> bool:
    """Whether two texts differ in case, punctuation and spacing only: an answer to one is an answer to the other."""
    return _bare(one) == _bare(other)


def _bare(text: str) -> str:
    """Letters, marks and numbers, one space between words. An apostrophe joins; signs (%, +, $) carry meaning."""
    kept = []
    for character in unicodedata.normalize("NFKC", text).casefold():
        kind = unicodedata.category(character)[0]
        if kind in "LMNS" or character in "%&@#":
            kept.append(character)
        elif character not in "'\N{RIGHT SINGLE QUOTATION MARK}":
            kept.append(" ")
    return " ".join("".join(kept).split())


_MARKS = ".,;:?!\N{HORIZONTAL ELLIPSIS}"


def whole_words(text: str) -> str:
    """A transcript of a turn that goes on, without what its sudden end made: half a word, and a full stop."""
    return " ".join(text.split()[:-1]).rstrip(_MARKS)


class Budget:
    """How much engine time may be wasted: `rate` seconds for each second that the user speaks, `burst_s` saved at most.

    :param rate: 0 forbids speculation, 1 lets it waste as much time as the user speaks.
    """

    def __init__(self, rate: float, *, burst_s: float = 4.0) -> None:
        self.rate = rate
        self._burst_s = burst_s * rate
        self._level_s = self._burst_s

    def spoke(self, seconds: float) -> None:
        self._level_s = min(self._burst_s, self._level_s + seconds * self.rate)

    def waste(self, seconds: float) -> None:
        """No debt beyond a burst: after a bad turn, speech soon buys speculation again."""
        self._level_s = max(-self._burst_s, self._level_s - seconds)

    def allows(self, more_s: float = 0.0) -> bool:
        """Whether something is left after `more_s` that are not booked yet."""
        return self._level_s > more_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationReport:
    """What was begun for a turn before it was sure, and what came of it. Seconds are of engine time."""

    started: int = 0
    """Answers begun before commit."""
    dropped: int = 0
    """Of those, given up again."""
    reruns: int = 0
    """Transcriptions of the growing turn that no answer was made from."""
    hit: bool | None = None
    """The answer that was given had been begun before commit; None: speculation was not possible."""
    kept: int = 0
    """How often a running answer was kept after a pause, since the words had stayed the same."""
    spent_s: float = 0.0
    """All work for this turn up to its end."""
    wasted_s: float = 0.0
    """The part of it that no answer was made from."""


@dataclass(slots=True)
class Ledger:
    """One turn's books."""

    started: int = 0
    dropped: int = 0
    kept: int = 0
    hearings: list[Meter] = field(default_factory=list)
    """Of every transcription of the growing turn, those that failed too."""
    used: Meter | None = None
    """The one of those that the committed answer was made from."""
    ahead: Meter = field(default_factory=Meter)
    """Of prompts evaluated ahead. Most of it is part of any answer's cost: it counts for the budget, not as waste."""
    wasted: list[Meter] = field(default_factory=list)
    """Of answers that were dropped."""

    def cost_s(self, pending: Meter | None = None) -> float:
        """What the budget pays: all but the answer and the transcription that it was made from.

        :param pending: a transcription that an answer may still be made from.
        """
        unused = [meter for meter in self.hearings if meter is not self.used and meter is not pending]
        return self.ahead.seconds + sum(meter.seconds for meter in [*unused, *self.wasted])

    def report(self, *, answer: Meter | None, heard: Meter | None, hit: bool | None) -> SpeculationReport:
        """
        :param answer: of the answer that was given; `heard`: of the transcription that it is made from.
        """
        reruns = [meter for meter in self.hearings if meter is not heard]
        wasted_s = sum(meter.seconds for meter in [*reruns, *self.wasted])
        used = [meter for meter in (answer, heard) if meter is not None]
        return SpeculationReport(
            started=self.started,
            dropped=self.dropped,
            reruns=len(reruns),
            hit=hit,
            kept=self.kept,
            spent_s=wasted_s + self.ahead.seconds + sum(meter.seconds for meter in used),
            wasted_s=wasted_s,
        )
