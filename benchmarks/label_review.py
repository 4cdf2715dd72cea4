"""Goes through labelled clips with a person, in a terminal. The dialogue only: who asks and shows is handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from antiphon.benchmarks.clips import MACHINE_TRANSCRIPT, Clip
from antiphon.benchmarks.label import Analysis, analyse, speech_between
from antiphon.benchmarks.label_folder import REVIEWED, UNREVIEWED, with_speech

WIDTH = 64
_BLOCKS = " ▁▂▃▄▅▆▇█"
HELP = (
    "Enter: right as it is. START END: other times in seconds (- END or START - for one of them). "
    "= TEXT: another transcript. n: nobody speaks. s: skip. q: save and quit."
)

Ask = Callable[[str], str]
"""Prompt to what was typed.

:raises EOFError: there is no more.
"""
Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Edit:
    """What a person typed, understood."""

    does: Literal["accept", "skip", "quit", "noise", "times", "text"]
    start_s: float | None = None
    """None: as it was."""
    end_s: float | None = None
    text: str = ""


def parse_edit(typed: str) -> Edit:
    """What an answer means.

    :raises ValueError: nothing that is known; the message is for the person.
    """
    text = typed.strip()
    if text.startswith("="):
        return Edit("text", text=" ".join(text[1:].split()))
    words: dict[str, Literal["accept", "skip", "quit", "noise"]] = {
        "": "accept",
        "s": "skip",
        "q": "quit",
        "n": "noise",
    }
    if text.lower() in words:
        return Edit(words[text.lower()])
    parts = text.replace(",", " ").split()
    try:
        numbers = [None if part == "-" else float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 2 or any(n is not None and not 0.0 <= n < float("inf") for n in numbers):
        raise ValueError(f"'{text}' is not understood. {HELP}")
    return Edit("times", numbers[0], numbers[1])


def review(clips: Iterable[tuple[int, Clip]], save: Callable[[int, Clip], None], ask: Ask, show: Show) -> int:
    """Show clip after clip and take corrections; stops at "q" or where the answers end.

    :param clips: (row number, clip).
    :param save: called with each clip that a person has accepted.
    :returns: how many were accepted.
    """
    everything = list(clips)
    accepted = 0
    show(HELP)
    for position, (number, clip) in enumerate(everything, 1):
        show(f"\n[{position}/{len(everything)}] {clip.name}")
        answer = _review_one(clip, ask, show)
        if answer == "quit":
            break
        if isinstance(answer, Clip):
            save(number, answer)
            accepted += 1
    return accepted


def timeline(analysis: Analysis, clip: Clip) -> str:
    """The clip's level, and below it where the speech is and where its pauses are; two lines of :data:`WIDTH`."""
    level = analysis.level_db
    edges = np.linspace(0, len(level), WIDTH + 1).astype(int)
    columns = np.array([level[first : max(last, first + 1)].max() for first, last in pairwise(edges)])
    heights = np.clip((columns - columns.max() + 48.0) / 6.0, 0, 8).astype(int)
    bar = "".join(_BLOCKS[height] for height in heights)
    return f"|{bar}|\n {_ruler(analysis, clip)}"


# ------------------------------------------------------------------------------------------- inside


def _ruler(analysis: Analysis, clip: Clip) -> str:
    marks = [" "] * WIDTH
    if clip.speech_end_s is None or not clip.seconds:
        return "".join(marks)

    def column(seconds: float) -> int:
        return min(WIDTH - 1, int(seconds / clip.seconds * WIDTH))

    start_s = clip.speech_start_s or 0.0
    for at in range(column(start_s), column(clip.speech_end_s) + 1):
        marks[at] = "-"
    for pause_start_s, pause_end_s in speech_between(analysis, start_s, clip.speech_end_s).pauses:
        for at in range(column(pause_start_s), column(pause_end_s) + 1):
            marks[at] = "."
    marks[column(start_s)] = "["
    marks[column(clip.speech_end_s)] = "]"
    return "".join(marks)


def _review_one(clip: Clip, ask: Ask, show: Show) -> Clip | Literal["skip", "quit"]:
    """The clip as a person wants it."""
    analysis = analyse(clip.samples())
    changed = clip
    while True:
        show(_described(analysis, changed))
        try:
            edit = parse_edit(ask("> "))
            if edit.does == "accept":
                return _reviewed(changed)
            if edit.does in ("skip", "quit"):
                return "skip" if edit.does == "skip" else "quit"
            changed = _edited(changed, edit, analysis)
        except EOFError:
            return "quit"
        except ValueError as error:
            show(str(error))


def _edited(clip: Clip, edit: Edit, analysis: Analysis) -> Clip:
    """:raises ValueError: the times do not lie in the clip."""
    if edit.does == "noise":
        return with_speech(clip, None)
    if edit.does == "text":
        if not clip.has_speech:
            raise ValueError("nobody speaks here; give the times of the speech first")
        return replace(clip, transcript=edit.text, draft="", kind=UNREVIEWED)
    start_s = edit.start_s if edit.start_s is not None else clip.speech_start_s
    end_s = edit.end_s if edit.end_s is not None else clip.speech_end_s
    if start_s is None or end_s is None:
        raise ValueError("there are no times yet: give both, START END")
    if not start_s < end_s <= clip.seconds + 0.0005:
        raise ValueError(f"{start_s:g} to {end_s:g} s does not lie in a clip of {clip.seconds:.2f} s")
    return with_speech(clip, speech_between(analysis, start_s, min(end_s, clip.seconds)))


def _reviewed(clip: Clip) -> Clip:
    """A person stands for it: a transcript from a recogniser becomes a reference."""
    if not clip.has_speech:
        return clip
    return replace(clip, kind=REVIEWED, transcript=clip.transcript or clip.draft, draft="")


def _described(analysis: Analysis, clip: Clip) -> str:
    if clip.speech_end_s is None:
        times = f"nobody speaks in {clip.seconds:.2f} s"
    else:
        pauses = ", ".join(f"{pause:.0f}" for pause in clip.pauses_ms) or "none"
        times = (
            f"speech {clip.speech_start_s or 0.0:.2f} - {clip.speech_end_s:.2f} of {clip.seconds:.2f} s; "
            f"pauses in ms: {pauses}"
        )
    text = clip.transcript or clip.draft
    by = " (by a recogniser, not checked)" if clip.kind == MACHINE_TRANSCRIPT else ""
    words = f"transcript{by}: {text}" if text else "no transcript"
    return f"{timeline(analysis, clip)}\n{times}\n{words}"
