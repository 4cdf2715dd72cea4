"""The scenario set: turns of a user, spoken by our own TTS, with ground truth that comes from their making.

The texts are data (`scenario_texts`), the sound is made by `scenario_audio`. On one machine the same set comes out byte
by byte each time; another kind of processor may round the voice's network differently in the last bit.

How a pause is made: the whole sentence is spoken at once, with a comma where the speaker hesitates. So no word is cut,
and the voice makes a silence there by itself; that silence is then brought to the length wanted. A voice that reads
aloud does not hesitate: where the text says so, the last syllable before the pause is drawn out besides, as people do
(Shriberg 2001).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from antiphon.benchmarks.clips import INDEX, RATE_HZ, Clip, ClipError, load_clips, write_index
from antiphon.benchmarks.scenario_audio import NOISES, gain, in_room, noise, pauses_ms, randomness, truth, with_pause
from antiphon.benchmarks.scenario_texts import (
    DIALOGUES,
    ERRANDS,
    LISTS,
    LONG,
    PAUSES_HELD_OUT,
    PAUSES_TUNE,
    QUESTIONS,
    TRAILING,
    VERSION,
    Line,
)
from antiphon.engines.audio import Samples, resample, to_pcm16
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import TTS, Word
from antiphon.engines.registry import EngineContext, find

VOICE = "en_US-joe-medium"
SCENARIOS = ("question", "pause", "trailing", "list", "long", "errand", "noise", "dialogue")
SOURCE = f"antiphon scenario set {VERSION}"
LANGUAGE = "en"
DRAWN_OUT = 1.6
"""How much longer the last syllable before a hesitation is made."""
_LEVELS_DB = (-9.0, 0.0)
"""Speakers are not all equally loud."""
_MARK = re.compile(r"\s*(~?)\|(\d+)\|\s*")

OnClip = Callable[[Clip, int, int], None]
"""(clip, how many are made, of how many)"""


@dataclass(frozen=True, slots=True)
class Pause:
    after: int
    """Number of words before it."""
    length_ms: float
    drawn_out: bool
    """Whether the word before it is drawn out."""


@dataclass(frozen=True, slots=True)
class Script:
    """A line made ready for the voice."""

    text: str
    """For the TTS."""
    transcript: str
    pauses: tuple[Pause, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One clip to be made."""

    name: str
    """File name without its ending."""
    scenario: str
    line: Line | None = None
    """None: a noise."""
    noise: str = ""
    split: str = ""
    dialogue: str = ""
    about: str = ""


def script(line: Line) -> Script:
    """What the voice is to say, where its pauses are, and what a recogniser should hear."""
    pieces = _MARK.split(line.text)  # words, then mark, length, words again and again
    words = pieces[0].split()
    pauses = []
    for drawn_out, length_ms, more in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        pauses.append(Pause(len(words), float(length_ms), bool(drawn_out)))
        words += more.split()
    transcript = line.written or " ".join(words)
    for pause in pauses:
        if words[pause.after - 1][-1].isalnum():
            words[pause.after - 1] += ","
    return Script(" ".join(words), transcript, tuple(pauses))


def items(only: Sequence[str] = ()) -> list[Item]:
    """The clips of the set in their order.

    :param only: scenarios; none: all.
    :raises ClipError: a scenario that there is not.
    """
    wanted = {name.removesuffix("s") if name.removesuffix("s") in SCENARIOS else name for name in only}
    if unknown := sorted(wanted - set(SCENARIOS)):
        raise ClipError(f"there is no scenario '{unknown[0]}'", hint=f"scenarios: {', '.join(SCENARIOS)}")
    return [item for item in _all_items() if not wanted or item.scenario in wanted]


def _all_items() -> Iterator[Item]:
    for scenario, lines in (
        ("question", QUESTIONS),
        ("trailing", TRAILING),
        ("list", LISTS),
        ("long", LONG),
        ("errand", ERRANDS),
    ):
        for number, line in enumerate(lines, 1):
            yield Item(f"{scenario}_{number:02}", scenario, line)
    for split, placed in (("tune", PAUSES_TUNE), ("held_out", PAUSES_HELD_OUT)):
        for number, (place, line) in enumerate(placed, 1):
            lengths = "_".join(f"{pause.length_ms:g}" for pause in script(line).pauses)
            yield Item(f"pause_{split}_{number:02}_{place}_{lengths}", "pause", line, split=split, about=place)
    for name in NOISES:
        yield Item(f"noise_{name}", "noise", noise=name, about=name)
    for name, turns in DIALOGUES:
        for number, line in enumerate(turns, 1):
            yield Item(f"dialogue_{name}_{number}", "dialogue", line, dialogue=name)


async def make_scenarios(
    folder: Path, *, voice: str = VOICE, only: Sequence[str] = (), on_clip: OnClip | None = None
) -> list[Clip]:
    """Speak the set into a folder, with its index. What an earlier run left there is overwritten.

    :param voice: an English Piper voice: a catalog name, or the path of its .onnx file.
    :param only: scenarios to make; none: all.
    :raises ClipError: an unknown scenario, a folder with other clips, or a voice of another language.
    :raises ModelError, EngineError: the voice or its packages are missing.
    """
    wanted = items(only)
    _refuse_others(folder)
    spec = find("tts", "piper")
    # one thread and one slice, whatever the machine: the same floats in the same order each time
    options = spec.options_class().model_validate(
        {"voice": voice, "threads": 1, "slice_frames": (4000,), "cache_mb": 0}
    )
    host = EngineHost()
    try:
        async with spec.create(options, EngineContext(host, ModelStore())) as tts:
            return await make_clips(folder, wanted, tts, on_clip=on_clip)
    finally:
        await host.close()


async def make_clips(folder: Path, wanted: Sequence[Item], tts: TTS, *, on_clip: OnClip | None = None) -> list[Clip]:
    """Make these clips with an entered engine that knows word times, and write their index.

    :raises ClipError: the engine does not speak the set's language or gives no word times, or the folder cannot be
        written.
    """
    languages = tts.capabilities.languages
    if languages is not None and LANGUAGE not in languages:
        raise ClipError(
            f"the scenario set is English; this voice speaks {', '.join(languages)}", hint="choose an English --voice"
        )
    clips = []
    try:
        os.makedirs(folder, exist_ok=True)
        for item in wanted:
            clips.append(_noise_clip(folder, item) if item.line is None else await _spoken_clip(folder, item, tts))
            if on_clip is not None:
                on_clip(clips[-1], len(clips), len(wanted))
        write_index(folder, clips)
    except (OSError, soundfile.SoundFileError) as error:
        raise ClipError(f"{folder}: cannot be written: {error}", hint="name another folder") from error
    return clips


# ------------------------------------------------------------------------------------------- inside


async def _spoken_clip(folder: Path, item: Item, tts: TTS) -> Clip:
    assert item.line is not None
    wanted = script(item.line)
    speech, words = await _speak(tts, wanted.text)
    if len(words) != len(wanted.text.split()):
        raise ClipError(f"the voice gave {len(words)} word times for '{wanted.text}'", hint="choose another --voice")
    speech = speech * np.float32(gain(randomness(f"level {item.name}").uniform(*_LEVELS_DB)))
    for pause in reversed(wanted.pauses):
        boundary_s = (words[pause.after - 1].end_s + words[pause.after].start_s) / 2
        speech = with_pause(speech, boundary_s, pause.length_ms, draw_out=DRAWN_OUT if pause.drawn_out else 1.0)
    found = truth(speech)
    if found is None:
        raise ClipError(f"nothing can be heard of '{wanted.text}'", hint="choose another --voice")
    samples, lead_s = in_room(speech, item.name)
    return Clip(
        path=_write(folder, item, samples),
        kind="synthetic",
        lang=LANGUAGE,
        seconds=len(samples) / RATE_HZ,
        speech_start_s=lead_s + found.start / RATE_HZ,
        speech_end_s=lead_s + found.end / RATE_HZ,
        pauses_ms=pauses_ms(found.pauses),
        transcript=wanted.transcript,
        source=_source(item),
        scenario=item.scenario,
        split=item.split,
        dialogue=item.dialogue,
    )


def _noise_clip(folder: Path, item: Item) -> Clip:
    samples = noise(item.noise)
    return Clip(
        path=_write(folder, item, samples),
        kind="noise",
        lang="-",
        seconds=len(samples) / RATE_HZ,
        speech_start_s=None,
        speech_end_s=None,
        source=_source(item),
        scenario=item.scenario,
    )


async def _speak(tts: TTS, text: str) -> tuple[Samples, list[Word]]:
    """The text's audio at :data:`RATE_HZ`, and its words."""
    chunks = [chunk async for chunk in tts.synthesize(text)]
    if not chunks:
        raise ClipError(f"the voice said nothing for '{text}'")
    speech = np.concatenate([chunk.frame.samples for chunk in chunks])
    return resample(speech, chunks[0].frame.rate_hz, RATE_HZ), [word for c in chunks for word in c.words or ()]


def _write(folder: Path, item: Item, samples: Samples) -> Path:
    path = folder / f"{item.name}.wav"
    soundfile.write(path, to_pcm16(samples), RATE_HZ, subtype="PCM_16")
    return path


def _source(item: Item) -> str:
    return f"{SOURCE}: {item.about}" if item.about else SOURCE


def _refuse_others(folder: Path) -> None:
    """A folder with someone's own index must not lose it."""
    if not (folder / INDEX).is_file():
        return
    own = SOURCE.rpartition(" ")[0]
    try:
        others = [clip for clip in load_clips(folder) if not clip.source.startswith(own)]
    except ClipError as error:
        raise ClipError(f"{folder} has an index of its own: {error.message}", hint="name another folder") from error
    if others:
        raise ClipError(f"{folder} has clips of another set, such as {others[0].name}", hint="name another folder")
