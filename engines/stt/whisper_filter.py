"""Tells what was said from what Whisper invents on noise, hum and music. Pure.

Whisper was trained on subtitles, so on noise it says what subtitles say ("Thank you."). No single number gives that
away: the model's own no-speech probability is the best witness (on a short window it parts noise from speech far better
than on 30 s), the log-probability, the acoustics and the text itself are the others. The numbers below come from the
human clip set, its noise clips cut in many places, and synthetic hum, tones, beeps, drums and music
(docs/engines-stt.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.engines.audio import Samples

SILENT_DBFS = -65.0
"""Audio whose loudest 20 ms are below this is not decoded at all."""
_FLOOR_DBFS = -120.0
_STEADY_DB = 5.0  # speech moves by 7 dB and more within a word, hum and tones by less than 2
_QUIET_DBFS = -50.0
_ACTIVE_DB = 15.0  # below the loud frames
_UNREAD_FRAMES = 40  # 0.8 s of loud audio after the last word
_DOUBTFUL = 0.8  # of the no-speech threshold: from there on a low log-probability is enough,
_MORE_DOUBTFUL = 0.65  # and from there on one that is lower by this much:
_MUCH_LOWER = 0.4
_CONFIDENT_LOGPROB = -0.4
_HOPELESS_LOGPROB = -2.2
_SUSPECT_NO_SPEECH = 0.3  # no clear speech has more
_WEAK = 0.2  # below the log-probability limit
_LONG_WINDOW_S = 20.0
_LONG_WINDOW_FACTOR = 1.6  # on long windows, most of them padding, the same noise gets a lower probability

_INVENTED = frozenset(
    """
    you|thank you|thank you very much|thank you so much|thanks for watching|thank you for watching|thanks|bye|bye bye
    |thank you for your time|please subscribe|like and subscribe|subtitles by the amara org community|okay|ok|oh|yeah
    |the end|music|applause|silence|so|i|the|a|um|uh|hmm|mm|i m sorry|oh my god|see you next time
    |untertitel der amara org community|untertitel im auftrag des zdf|vielen dank|sous titres réalisés par la
    communauté d amara org|merci|merci d avoir regardé cette vidéo|gracias|subtítulos realizados por la comunidad de
    amara org|ご視聴ありがとうございました|ありがとうございました|谢谢观看|谢谢大家
    """.replace("\n    |", "|")
    .replace("\n", " ")
    .replace("    ", "")
    .strip()
    .split("|")
)
"""Phrases (lower case, letters only) that Whisper says on noise. People say them too, so never enough alone."""


@dataclass(frozen=True, slots=True)
class FilterLimits:
    """Where the filter draws its lines."""

    no_speech: float = 0.6
    """No-speech probability, 0-1."""
    logprob: float = -0.8
    """Mean natural-log probability of a token."""
    compression_ratio: float = 2.4


@dataclass(frozen=True, slots=True)
class Acoustics:
    """What the samples themselves say, from RMS levels of 20 ms frames."""

    peak_dbfs: float
    """The loudest frame."""
    dynamic_db: float
    """95th over 10th percentile of the frames: low for hum and steady noise, high for speech with its gaps."""
    active_s: float
    """Time within 15 dB of the loud frames."""

    @property
    def silent(self) -> bool:
        return self.peak_dbfs < SILENT_DBFS


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that speaks for or against a decoded text."""

    text: str
    tokens: int
    logprob: float
    no_speech: float
    looped: bool
    window_s: float
    acoustics: Acoustics


def _levels(samples: Samples, hop: int) -> NDArray[np.float64]:
    """RMS level of each `hop` samples, in dBFS."""
    frames = samples[: len(samples) // hop * hop].reshape(-1, hop)
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return np.asarray(10.0 * np.log10(np.maximum(power, 10.0 ** (_FLOOR_DBFS / 10.0))))


def measure(samples: Samples, rate_hz: int = 16_000) -> Acoustics:
    """Levels of a piece of audio; shorter than a frame counts as one frame, none as silence."""
    if not len(samples):
        return Acoustics(_FLOOR_DBFS, 0.0, 0.0)
    hop = min(rate_hz // 50, len(samples))
    level = _levels(samples, hop)
    low, high = np.percentile(level, [10, 95])
    active = float(np.count_nonzero(level > high - _ACTIVE_DB)) * hop / rate_hz
    return Acoustics(float(level.max()), float(high - low), active)


def unread_from(samples: Samples, heard_s: float, rate_hz: int = 16_000) -> float | None:
    """Where the audio goes on after the last word that was decoded, or None where (almost) nothing follows.

    :param heard_s: the end of the last word.
    :returns: a place in the pause before the audio goes on, in seconds.
    """
    hop = rate_hz // 50
    if len(samples) < hop:
        return None
    level = _levels(samples, hop)
    first = round((heard_s + 0.1) * 50)
    loud = np.flatnonzero(level[first:] > float(np.percentile(level, 95)) - _ACTIVE_DB)
    if len(loud) < _UNREAD_FRAMES:
        return None
    return (first + max(0, int(loud[0]) - 5)) / 50


def rejection(evidence: Evidence, limits: FilterLimits, *, strict: bool = False) -> str | None:
    """Why a text is not what somebody said, or None where it is to be believed.

    :param strict: there is other reason for doubt, so a low log-probability alone is enough.
    """
    if not any(c.isalnum() for c in evidence.text):
        return "no words"
    no_speech, logprob, acoustics = evidence.no_speech, evidence.logprob, evidence.acoustics
    if evidence.window_s >= _LONG_WINDOW_S and logprob < limits.logprob - _WEAK:
        no_speech = min(1.0, no_speech * _LONG_WINDOW_FACTOR)
    if no_speech > limits.no_speech and logprob < _CONFIDENT_LOGPROB:
        return "no speech"
    if (no_speech > _DOUBTFUL * limits.no_speech and logprob < limits.logprob) or (
        no_speech > _MORE_DOUBTFUL * limits.no_speech and logprob < limits.logprob - _MUCH_LOWER
    ):
        return "no speech, low probability"
    if logprob < (limits.logprob if strict else _HOPELESS_LOGPROB):
        return "low probability"
    if evidence.looped and no_speech > _SUSPECT_NO_SPEECH:
        return "loop on doubtful speech"
    if acoustics.dynamic_db < _STEADY_DB and no_speech > _SUSPECT_NO_SPEECH / 2:
        return "steady sound"
    if logprob < limits.logprob and acoustics.active_s > 4.0 and evidence.tokens < 0.6 * acoustics.active_s:
        return "too few words for so much sound"
    if _bare(evidence.text) in _INVENTED and (
        no_speech > _SUSPECT_NO_SPEECH or (acoustics.peak_dbfs < _QUIET_DBFS and logprob < limits.logprob)
    ):
        return "known invention"
    return None


def _bare(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
