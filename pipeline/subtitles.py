"""A transcript as plain text, JSON, SubRip (SRT) or WebVTT. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from antiphon.engines.protocols import Transcript, Word

SubtitleFormat = Literal["text", "json", "srt", "vtt"]
SUFFIXES: Mapping[SubtitleFormat, str] = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}

_MAX_CUE_CHARS = 84
"""Two lines of 42: the usual width of subtitles."""
_LINE_CHARS = 42
_MAX_CUE_S = 6.0
_PAUSE_S = 0.8
_SENTENCE_END = re.compile(r"[.?!…。！？][\"'”’»)\]]*$")
_MIN_SENTENCE_CHARS = 24  # shorter sentences share a cue with the next


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle: what is shown, and when."""

    start_s: float
    end_s: float
    text: str


def cues(transcript: Transcript, duration_s: float) -> list[Cue]:
    """Subtitles in order, without overlap. Without word times: one for the whole recording.

    Words are joined up to 84 characters or 6 s, and parted at ends of sentences and pauses of 0.8 s.

    :param duration_s: length of the recording; no cue ends later.
    """
    if not transcript.text:
        return []
    if not transcript.words:
        return [Cue(0.0, max(duration_s, 0.001), transcript.text)]
    groups: list[list[Word]] = []
    for word in transcript.words:
        if not groups or _parts(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    found: list[Cue] = []
    for index, group in enumerate(groups):
        start = max(group[0].start_s, found[-1].end_s if found else 0.0)
        following = groups[index + 1][0].start_s if index + 1 < len(groups) else duration_s
        end = max(min(group[-1].end_s, max(following, start)), start + 0.001)
        found.append(Cue(start, end, " ".join(word.text for word in group)))
    return found


def _parts(group: Sequence[Word], word: Word) -> bool:
    """Whether a new cue begins with `word`."""
    chars = sum(len(w.text) + 1 for w in group)
    return (
        chars + len(word.text) > _MAX_CUE_CHARS
        or word.end_s - group[0].start_s > _MAX_CUE_S
        or word.start_s - group[-1].end_s > _PAUSE_S
        or (chars >= _MIN_SENTENCE_CHARS and _SENTENCE_END.search(group[-1].text) is not None)
    )


def to_dict(transcript: Transcript, duration_s: float) -> dict[str, Any]:
    """A transcript as JSON-ready values: times in seconds, probabilities 0-1, null for what is not known."""
    words = None
    if transcript.words is not None:
        words = [
            {"text": w.text, "start_s": w.start_s, "end_s": w.end_s, "probability": _rounded(w.probability)}
            for w in transcript.words
        ]
    return {
        "text": transcript.text,
        "duration_s": round(duration_s, 3),
        "language": transcript.language,
        "language_probability": _rounded(transcript.language_probability),
        "no_speech_probability": _rounded(transcript.no_speech_probability),
        "average_logprob": _rounded(transcript.average_logprob),
        "rejected_text": transcript.rejected_text,
        "words": words,
    }


def to_srt(transcript: Transcript, duration_s: float) -> str:
    """SubRip. Empty for an empty transcript."""
    blocks = [
        f"{number}\n{_clock(cue.start_s, ',')} --> {_clock(cue.end_s, ',')}\n{_wrapped(cue.text)}\n"
        for number, cue in enumerate(cues(transcript, duration_s), 1)
    ]
    return "\n".join(blocks)


def to_vtt(transcript: Transcript, duration_s: float) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/); the characters that are markup there are escaped."""
    blocks = ["WEBVTT\n"]
    blocks.extend(vtt_cue(cue.start_s, cue.end_s, cue.text) for cue in cues(transcript, duration_s))
    return "\n".join(blocks)


def vtt_cue(start_s: float, end_s: float, text: str, *, voice: str = "") -> str:
    """One cue of a WebVTT file, ending in a newline.

    :param voice: who says it; "" for nobody in particular.
    """
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = f"<v {voice}>{_wrapped(safe)}</v>" if voice else _wrapped(safe)
    return f"{_clock(start_s, '.')} --> {_clock(end_s, '.')}\n{shown}\n"


def render(
    transcript: Transcript, kind: SubtitleFormat, duration_s: float, extra: Mapping[str, Any] | None = None
) -> str:
    """The transcript in one of the formats, ending in a newline (but for an empty SRT, which has no line at all).

    :param extra: more keys for JSON, before the others.
    """
    if kind == "json":
        return json.dumps({**(extra or {}), **to_dict(transcript, duration_s)}, ensure_ascii=False) + "\n"
    if kind == "srt":
        return to_srt(transcript, duration_s)
    if kind == "vtt":
        return to_vtt(transcript, duration_s)
    return transcript.text + "\n"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _clock(seconds: float, point: str) -> str:
    """hh:mm:ss.mmm; hours go on past 99."""
    whole_ms = max(0, round(seconds * 1000))
    minutes, ms = divmod(whole_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{ms // 1000:02d}{point}{ms % 1000:03d}"


def _wrapped(text: str) -> str:
    """At most two lines, parted at the space nearest the middle. Never an empty line: that would end the cue."""
    text = " ".join(text.split())
    if len(text) <= _LINE_CHARS:
        return text
    spaces = [i for i, c in enumerate(text) if c == " "]
    if not spaces:
        return text
    middle = min(spaces, key=lambda i: abs(i - len(text) // 2))
    return f"{text[:middle]}\n{text[middle + 1 :]}"
