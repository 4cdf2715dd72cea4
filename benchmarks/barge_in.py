"""How soon a reply falls silent when somebody speaks into it, and what noise does to it.

    python -m antiphon.benchmarks.barge_in --config tiny.yaml --clips DIR [--where lang=en] [--limit N]

Each clip of `DIR` (an `index.tsv` as for `antiphon bench run`) is played into a long reply, in real time, with the
configured VAD, turn detector, STT and TTS. Time zero is the first speech sample of the clip, by ground truth; the end
is the last audible sample of the reply. A clip without speech must stop nothing: its reply has to go on to its end,
every sample of it. The room has no echo here: see docs/echo.md for that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.benchmarks.clips import RATE_HZ, Clip, load_clips
from antiphon.benchmarks.records import Summary
from antiphon.benchmarks.stats import summary
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import load_config
from antiphon.pipeline.events import Event, Interrupted, PlaybackPaused, PlaybackResumed, TranscriptEvent
from antiphon.pipeline.reply import AUDIBLE
from antiphon.pipeline.transports.recording import PlayedFrame, RecordingTransport
from antiphon.pipeline.workflow import as_workflow

LONG = (
    "The lighthouse stands at the end of a narrow path. Every evening its keeper climbs the stairs and lights the "
    "lamp. Ships see it from far away, and they turn before the rocks. In the morning he goes down again and makes tea."
)
INTO_S = 1.5
"""So far into the reply the clip begins."""


@dataclass(frozen=True, slots=True)
class Outcome:
    clip: str
    speech: bool
    stop_ms: float | None
    """From the first speech sample to the last audible sample before the silence; None: it never fell silent."""
    decided_ms: float | None
    """From the first speech sample to the decision that it is an interruption; None: there was none."""
    resumed: bool
    whole: bool
    """The reply was heard to its end."""

    @property
    def right(self) -> bool:
        """Speech stopped the reply; noise did not."""
        return (self.decided_ms is not None) if self.speech else self.whole


async def measure(assembly: Assembly, clip: Clip) -> Outcome:
    """Play one clip into a reply."""
    samples = clip.samples()
    loop = asyncio.get_running_loop()
    events: list[Event] = []
    reply_began = asyncio.Event()

    reply_over = asyncio.Event()

    def watch(event: Event) -> None:
        events.append(event)
        if event.type == "audio_started":
            reply_began.set()
        elif isinstance(event, Interrupted) or (isinstance(event, TranscriptEvent) and event.turn == 0):
            reply_over.set()

    began_s: list[float] = []

    async def frames() -> AsyncIterator[AudioFrame]:
        # Silence until the reply has played for a while, then the clip, then silence until the session is stopped.
        origin_s = loop.time()
        position = 0
        left: Samples = np.empty(0, dtype=np.float32)
        size = RATE_HZ // 50
        while True:
            if not began_s and reply_began.is_set() and loop.time() >= due_s():
                began_s.append(position / RATE_HZ)
                left = samples
            block = np.zeros(size, dtype=np.float32)
            block[: len(left[:size])] = left[:size]
            left = left[size:]
            position += size
            await asyncio.sleep(max(0.0, origin_s + position / RATE_HZ - loop.time()))
            yield AudioFrame(block, RATE_HZ, (position - size) / RATE_HZ)

    def due_s() -> float:
        return next(event.t_s for event in events if event.type == "audio_started") + INTO_S

    async def nothing(text: str) -> str:
        return "Yes?"

    transport = RecordingTransport(frames(), paced=True)
    session = assembly.session(transport, workflow=as_workflow(nothing), sinks=[watch])
    running = asyncio.create_task(session.run())
    await asyncio.sleep(0.1)
    session.say(LONG)
    await reply_began.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(INTO_S + len(samples) / RATE_HZ + 30.0):
            await reply_over.wait()
    running.cancel()
    await asyncio.wait({running})
    if not began_s:
        raise SystemExit(f"{clip.name}: the reply ended before the clip began")
    return _judged(clip, events, transport, began_s[0])


def _judged(clip: Clip, events: Sequence[Event], transport: RecordingTransport, began_s: float) -> Outcome:
    first_s = began_s + (clip.speech_start_s or 0.0)
    paused = next((event for event in events if isinstance(event, PlaybackPaused)), None)
    stopped = next((event for event in events if isinstance(event, Interrupted)), None)
    resumed = any(isinstance(event, PlaybackResumed) for event in events)
    silent_s = None
    if stopped is not None:
        silent_s = _last_audible_s([piece for piece in transport.played if piece.mark == 0])
    decided_s = None if stopped is None else stopped.audio_s
    whole = paused is None or (stopped is None and resumed)
    return Outcome(
        clip.name,
        clip.has_speech,
        None if silent_s is None else 1000 * (silent_s - first_s),
        None if decided_s is None else 1000 * (decided_s - first_s),
        resumed,
        whole and stopped is None,
    )


def _last_audible_s(pieces: Sequence[PlayedFrame]) -> float | None:
    for piece in reversed(pieces):
        loud = np.flatnonzero(np.abs(piece.frame.samples) > AUDIBLE)
        if len(loud):
            return piece.start_s + float(loud[-1] + 1) / piece.frame.rate_hz
    return None


def report(outcomes: Sequence[Outcome]) -> list[str]:
    """The table's lines."""
    speech = [one for one in outcomes if one.speech]
    noise = [one for one in outcomes if not one.speech]

    def line(name: str, values: Summary) -> str:
        p50, p95, most = (0.0 if value is None else value for value in (values.p50, values.p95, values.max))
        return f"{name:36} n {values.n:3}  p50 {p50:6.0f}  p95 {p95:6.0f}  max {most:6.0f} ms"

    lines = [
        line("first speech sample -> silence", summary(one.stop_ms for one in speech)),
        line("first speech sample -> decided", summary(one.decided_ms for one in speech)),
        f"interruptions found                  {sum(one.right for one in speech)} of {len(speech)}",
    ]
    if noise:
        stopped = sum(not one.right for one in noise)
        lines.append(f"replies that noise stopped           {stopped} of {len(noise)}")
    return lines


async def run(config: str, clips: Sequence[Clip]) -> list[Outcome]:
    loaded = load_config(config, overrides=["session.greeting=null"])
    outcomes = []
    async with Assembly(loaded, needs_llm=False) as assembly:
        for clip in clips:
            outcomes.append(outcome := await measure(assembly, clip))
            stop = "-" if outcome.stop_ms is None else f"{outcome.stop_ms:.0f} ms"
            sys.stderr.write(f"{clip.name:50} {stop:>8} {'' if outcome.right else 'WRONG'}\n")
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="tiny.yaml", help="a YAML file, or the name of a packaged one")
    parser.add_argument("--clips", type=Path, required=True, help="a folder of 16 kHz WAVs with index.tsv")
    parser.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE")
    parser.add_argument("--limit", type=int, default=None, metavar="N", help="at most N clips, spread over the index")
    arguments = parser.parse_args()
    clips = load_clips(arguments.clips, where=arguments.where)
    if arguments.limit is not None and len(clips) > arguments.limit:
        clips = [clips[round(at * (len(clips) - 1) / max(1, arguments.limit - 1))] for at in range(arguments.limit)]
    sys.stdout.write("\n".join(report(asyncio.run(run(arguments.config, clips)))) + "\n")


if __name__ == "__main__":
    main()
