"""When the user speaks into a reply: is it meant to stop it? Pure: what is known goes in, a verdict comes out.

Output pauses at once, on the first sure sound of a voice. Then either the user goes on speaking, or says something:
the reply is over, and what was heard of it is all that was said. Or it was a cough, or an "uh-huh": the reply goes on
at the sample where it paused.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum

BACKCHANNELS = (
    "ah",
    "aha",
    "got it",
    "hm",
    "hmm",
    "i see",
    "mhm",
    "mm",
    "mm-hmm",
    "mmm",
    "oh",
    "okay",
    "ok",
    "right",
    "sure",
    "uh-huh",
    "uh",
    "um",
    "wow",
    "yeah",
    "yep",
)
"""What listeners say to show that they listen (English)."""


@dataclass(frozen=True, slots=True)
class InterruptionSettings:
    enabled: bool = True
    """False: replies play to their end, and what the user says meanwhile is answered after it."""
    min_speech_ms: float = 600.0
    """Speech into a reply that stops it whatever is said."""
    sure_speech_ms: float = math.inf
    """The same, where the VAD is sure that it is speech: for whoever cannot pause a reply while this is found out, and
    would hear it go on for so long. Inf: it makes no difference."""
    min_words: int = 1
    """Words that stop it sooner, and without which nothing does once they are asked for."""
    thinking_min_speech_ms: float = 300.0
    """Speech before anything of the reply was heard, that stops it whatever is said."""
    backchannels: Collection[str] = BACKCHANNELS
    """Said alone, these stop nothing."""
    mute_ms: float = 0.0
    """So long after a reply becomes audible, nothing stops it."""


class Verdict(Enum):
    STOP = "stop"
    """The user wants to speak."""
    GO_ON = "go_on"
    """It was nothing: the reply goes on."""
    WAIT = "wait"
    """Not known yet."""


@dataclass(slots=True)
class Interruption:
    """One attempt to interrupt: made when the user's voice is heard during a reply."""

    settings: InterruptionSettings
    turn: int
    """The user's turn that it may become."""
    began_s: float
    """The first sample of the user's voice, on the stream clock."""
    audible: bool
    """Something of the reply was being heard, or had been."""
    paused: bool = False
    """Playback stands still for it."""
    _first_s: float = field(init=False, default=-math.inf)
    """Where the sound begins that goes on now, or was the last one."""
    _lasted_s: float = field(init=False, default=0.0)
    _before_s: float = field(init=False, default=0.0)
    """How long the sounds before it lasted."""

    def hear(self, first_s: float, last_s: float) -> float:
        """A voice goes on.

        :param first_s: where this sound of it began, and `last_s`: how far it goes by now; on the stream clock.
        :returns: how long the user has spoken, in ms. Silence between sounds does not count: coughs come in rows.
        """
        if first_s != self._first_s:
            self._before_s += self._lasted_s
            self._first_s = first_s
        self._lasted_s = max(0.0, last_s - max(first_s, self.began_s))
        return 1000 * (self._before_s + self._lasted_s)

    def on_speech(self, speech_ms: float, text: str, *, sure_ms: float = 0.0) -> Verdict:
        """The user goes on speaking.

        :param speech_ms: so far; `text`: what was heard of it so far, as far as anybody knows.
        :param sure_ms: how much of it the VAD has no doubt about.
        """
        settings = self.settings
        enough_ms = settings.min_speech_ms if self.audible else settings.thinking_min_speech_ms
        is_sure = self.audible and sure_ms >= settings.sure_speech_ms
        if speech_ms < enough_ms and not is_sure:
            return Verdict.WAIT
        return Verdict.STOP if settings.min_words <= 1 or len(text.split()) >= settings.min_words else Verdict.WAIT

    def on_words(self, text: str) -> Verdict:
        """The user has stopped, for now, and this was said. Never :attr:`Verdict.WAIT`."""
        words = _plain(text).split()
        if not words or self.is_backchannel(text) or len(words) < self.settings.min_words:
            return Verdict.GO_ON
        return Verdict.STOP

    def is_backchannel(self, text: str) -> bool:
        """Whether it is made of back-channels only ("Yeah, okay.")."""
        known = sorted((_plain(each).split() for each in self.settings.backchannels), key=len, reverse=True)
        left = _plain(text).split()
        if not left:
            return False
        while left:
            match = next((each for each in known if each and left[: len(each)] == each), None)
            if match is None:
                return False
            left = left[len(match) :]
        return True


def _plain(text: str) -> str:
    """Lower case, letters and digits, one space between words; hyphens part words."""
    kept = (
        c if unicodedata.category(c)[0] in "LMN" else "" if c in "'\N{RIGHT SINGLE QUOTATION MARK}" else " "
        for c in unicodedata.normalize("NFKC", text).casefold()
    )
    return " ".join("".join(kept).split())
