"""How well echo control works: `python -m antiphon.benchmarks.echo`. The numbers of docs/echo.md come from here.

An assistant's speech (the configured voice, real) is heard back through made rooms. Echo alone must not open the gate;
a person who talks over it (recordings with ground truth) must.
"""

from __future__ import annotations

import asyncio
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from antiphon.benchmarks.clips import Clip, load_clips
from antiphon.benchmarks.echo_room import RATE_HZ, Replies, Room, cleaned, erle_db, in_a_row, openings
from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.engines.protocols import VAD
from antiphon.pipeline.config import load_config
from antiphon.pipeline.engine_making import create_engine, engine_context
from antiphon.pipeline.frontend import AudioFrontEnd, FrontEndSettings

SAID = (
    "Sure, I can help with that. The library opens at nine in the morning and closes at half past six.",
    "The weather today is mild, with a light wind from the west and a small chance of rain in the late afternoon.",
    "I have set a timer for twelve minutes. I will tell you when it is done.",
    "There are three trains to the coast. The first leaves at ten past two, and the last one at twenty to five.",
    "The Brooklyn Bridge was opened in eighteen eighty three, after fourteen years of work.",
    "That is a good question. Most people need between seven and nine hours of sleep, but it changes with age.",
    "Your next appointment is on Thursday at eleven. Would you like me to move it to another day?",
    "To make a simple soup, cut two onions, fry them slowly in butter, add potatoes and water, and let it cook.",
    "The lights in the living room are off now. The lamp in the kitchen is still on.",
    "I am sorry, I could not find anything about that in the documents. Could you say it in other words?",
    "Water boils at a lower temperature on a mountain, because the air presses less on its surface.",
    "The total comes to forty seven pounds and sixty pence, and the delivery should arrive on Monday morning.",
    "Once upon a time there was a fisherman who lived by the sea. Every day he went out in his small boat.",
    "No problem at all. Let me read the list again. Apples, bread, six eggs, and something sweet for the children.",
    "The capital of Australia is Canberra. Many people think that it is Sydney, which is the largest city.",
    "I have turned the heating down to eighteen degrees. It will go up again at six tomorrow morning.",
    "You have two new messages. The first is from Anna, who asks whether you can come to dinner on Saturday.",
    "The distance from the earth to the moon is about three hundred and eighty four thousand kilometres.",
    "Thank you for waiting. I have checked the order, and it left the warehouse yesterday at noon.",
    "If the screen stays dark, hold the power button for ten seconds, wait a moment, and then press it once more.",
)
TALK_AFTER_S = 4.0
"""Into the reply, when the user begins to talk over it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table of echo alone."""

    name: str
    room: Room = field(default_factory=Room)
    settings: FrontEndSettings = field(default_factory=FrontEndSettings)
    rate_hz: int = RATE_HZ
    told_late_ms: float = 0.0


CASES = (
    *(Case(f"{delay:g} ms", Room(delay_ms=delay, seed=int(delay))) for delay in (30, 60, 120)),
    *(Case(f"echo at {level:g} dB", Room(level_db=level)) for level in (-30, -10, 0)),
    *(Case(f"reverberation of {rt60:g} s", Room(rt60_s=rt60)) for rt60 in (0.15, 0.6)),
    *(Case(f"sample clocks apart by {ppm} ppm", Room(drift_ppm=ppm)) for ppm in (100, -100, 500)),
    *(Case(f"input of {rate} Hz", rate_hz=rate) for rate in (8000, 44100, 48000)),
    *(Case(f"told {late:g} ms late", told_late_ms=late) for late in (40, 100)),
    *(Case(f"told {-late:g} ms early", told_late_ms=late) for late in (-200, -300, -450)),
    Case("told 450 ms early, `echo_delay_ms: 400`", settings=FrontEndSettings(delay_ms=400), told_late_ms=-450),
    *(
        Case(f"`noise_suppression: {level}`", settings=FrontEndSettings(noise_suppression=level))
        for level in ("low", "moderate", "high")
    ),
    Case("`gain_control: true`", settings=FrontEndSettings(gain_control=True)),
    Case("`half_duplex`", settings=FrontEndSettings(echo="half_duplex")),
)


@dataclass(frozen=True, slots=True)
class EchoRow:
    """What became of one case."""

    case: Case
    seconds: float
    before: int
    """Times the gate opened on the bare input."""
    after: int
    erle_db: float
    cpu: float
    """CPU seconds for each second of audio."""


def echo_alone(case: Case, replies: Replies, vad: VAD) -> EchoRow:
    """Nobody speaks but the assistant."""
    seconds = replies.end_s + 1.0
    played = replies.timeline(seconds)
    captured = case.room.heard(played) + case.room.noise(len(played))
    near = AudioFrame(resample(captured, RATE_HZ, case.rate_hz), case.rate_hz)
    front_end = AudioFrontEnd(case.settings)
    began_s = time.process_time()
    heard = cleaned(front_end, near, replies, told_late_s=case.told_late_ms / 1000)
    cpu = (time.process_time() - began_s) / seconds
    return EchoRow(
        case,
        seconds,
        len(openings(vad, captured)),
        len(openings(vad, heard)),
        erle_db(captured, heard, played),
        cpu,
    )


@dataclass(frozen=True, slots=True)
class TalkRow:
    """A way of talking over a reply, over all clips."""

    name: str
    total: int
    heard: int
    """Clips that opened the gate."""
    false: int
    """Clips where it was open before the user spoke."""
    after_ms: tuple[float, ...]
    """From the first speech sample to the opening."""


def talk_over(
    name: str, clips: Sequence[Clip], replies: Replies, vad: VAD, room: Room | None, settings: FrontEndSettings
) -> TalkRow:
    """Each clip, said over a reply.

    :param room: None: the clip alone, with no reply at all.
    """
    total = heard = false = 0
    after_ms: list[float] = []
    for clip in clips:
        if clip.speech_start_s is None:
            continue
        total += 1
        seconds = TALK_AFTER_S + clip.seconds
        played = replies.timeline(seconds)
        at = round(TALK_AFTER_S * RATE_HZ)
        near = np.zeros(len(played), dtype=np.float32)
        said = clip.samples()[: len(near) - at]
        near[at : at + len(said)] += said
        if room is not None:
            near += room.heard(played) + room.noise(len(near))
            near = cleaned(AudioFrontEnd(settings), AudioFrame(near, RATE_HZ), replies)
        begin_s = TALK_AFTER_S + clip.speech_start_s
        opened = openings(vad, near)
        false += any(at_s < begin_s for at_s in opened)
        if later := [at_s for at_s in opened if at_s >= begin_s]:
            heard += 1
            after_ms.append(1000 * (later[0] - begin_s))
    return TalkRow(name, total, heard, false, tuple(after_ms))


def talking(clips: Sequence[Clip], replies: Replies, vad: VAD) -> list[TalkRow]:
    aec = FrontEndSettings()
    rows = [talk_over("the clip alone, no reply", clips, replies, vad, None, aec)]
    for level in (-20.0, -10.0, 0.0):
        room = Room(level_db=level)
        rows.append(talk_over(f"`aec`, echo at {level:g} dB", clips, replies, vad, room, aec))
    room = Room()
    suppressed = replace(aec, noise_suppression="moderate")
    rows.append(talk_over("`aec`, `noise_suppression: moderate`", clips, replies, vad, room, suppressed))
    rows.append(talk_over("`off`", clips, replies, vad, room, replace(aec, echo="off")))
    rows.append(talk_over("`half_duplex`", clips, replies, vad, room, replace(aec, echo="half_duplex")))
    return rows


# ------------------------------------------------------------------------------------------------ tables


def echo_table(rooms: Sequence[Sequence[EchoRow]]) -> str:
    """One line a case: the median over the rooms, and the sum of their openings."""
    lines = ["| | ERLE dB | openings: bare | with the front end | CPU s / s |", "|---|---|---|---|---|"]
    for rows in zip(*rooms, strict=True):
        erle = f"{statistics.median(row.erle_db for row in rows):.1f}" if rows[0].case.settings.echo == "aec" else "-"
        before, after = sum(row.before for row in rows), sum(row.after for row in rows)
        cpu = statistics.median(row.cpu for row in rows)
        lines.append(f"| {rows[0].case.name} | {erle} | {before} | {after} | {cpu:.4f} |")
    return "\n".join(lines)


def talk_table(rows: Sequence[TalkRow]) -> str:
    lines = ["| | heard | open before | first sample to opening: median, p95 ms |", "|---|---|---|---|"]
    for row in rows:
        times = "-"
        if row.after_ms:
            times = f"{statistics.median(row.after_ms):.0f}, {float(np.percentile(row.after_ms, 95)):.0f}"
        lines.append(f"| {row.name} | {row.heard} / {row.total} | {row.false} | {times} |")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------ the command


async def _speech(tts: Any, texts: Sequence[str]) -> list[AudioFrame]:
    speech = []
    for text in texts:
        samples: list[Samples] = [chunk.frame.samples async for chunk in tts.synthesize(text)]
        speech.append(AudioFrame(np.concatenate(samples), tts.rate_hz))
    return speech


async def _measure(clips: Sequence[Clip], repeats: int, config: str) -> None:
    loaded = load_config(config)
    async with (
        engine_context(loaded) as context,
        create_engine(loaded.vad, context) as vad,
        create_engine(loaded.tts[0], context) as tts,
    ):
        speech = await _speech(tts, SAID)
        typer.echo(
            f"pywebrtc-audio {version('pywebrtc-audio')}, Python {platform.python_version()}; "
            f"{loaded.tts[0].engine}, {loaded.vad.engine}\n"
        )
        rooms = []
        for number in range(repeats):
            replies = in_a_row(speech[number:] + speech[:number])
            cases = [replace(case, room=replace(case.room, seed=case.room.seed + 100 * number)) for case in CASES]
            rooms.append([echo_alone(case, replies, vad) for case in cases])
        seconds = sum(rows[0].seconds for rows in rooms)
        typer.echo(f"Echo alone, {repeats} rooms, {seconds:.0f} s a row\n\n{echo_table(rooms)}\n")
        if clips:
            replies = in_a_row(speech, pause_s=0.2)
            typer.echo(f"Talking over a reply\n\n{talk_table(talking(clips, replies, vad))}")


def main(
    clips: Annotated[Path | None, typer.Option(help="Folder with recordings and index.tsv.", exists=True)] = None,
    repeats: Annotated[int, typer.Option(help="Rooms to try, each with another response.", min=1)] = 1,
    config: Annotated[str, typer.Option(help="Configuration whose VAD and voice are used.")] = "local.yaml",
) -> None:
    """Measure echo control."""
    spoken = [clip for clip in load_clips(clips) if clip.has_speech] if clips else []
    asyncio.run(_measure(spoken, repeats, config))


if __name__ == "__main__":
    typer.run(main)
