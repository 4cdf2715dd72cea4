"""What a caller hears, without a network: frames of what is said, pauses, what is thrown away, a steady beat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.server.realtime.webrtc.clock import Beat
from antiphon.server.realtime.webrtc.opus import (
    FRAME_S,
    FRAME_SAMPLES,
    RATE_HZ,
    SILENCE,
    Pcm,
)
from antiphon.server.realtime.webrtc.playout import MAX_AHEAD_S, Playout


class Heard:
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def playing(self, mark: int) -> None:
        self.told.append(("playing", mark))

    def played(self, mark: int) -> None:
        self.told.append(("played", mark))

    def cleared(self, mark: int) -> None:
        self.told.append(("cleared", mark))


class Wire:
    """Takes a frame every 20 ms, as the line does."""

    def __init__(self, playout: Playout) -> None:
        self.playout = playout
        self.frames: list[Pcm | None] = []

    async def run(self) -> None:
        beat = Beat(FRAME_S)
        while True:
            due_s, _ = await beat.wait()
            self.frames.append(self.playout.take(due_s))

    def sound(self) -> Pcm:
        return np.concatenate([SILENCE if frame is None else frame for frame in self.frames])


def on_a_wire(talk: Callable[[Playout, Wire], Awaitable[Any]]) -> tuple[Heard, Wire]:
    async def main() -> tuple[Heard, Wire]:
        heard = Heard()
        playout = Playout(heard)
        wire = Wire(playout)
        running = asyncio.create_task(wire.run())
        await talk(playout, wire)
        running.cancel()
        return heard, wire

    return run_virtual(main())


def speech(duration_s: float, rate_hz: int = 24000) -> AudioFrame:
    count = round(duration_s * rate_hz)
    return AudioFrame((0.3 * np.sin(2 * np.pi * 440 * np.arange(count) / rate_hz)).astype(np.float32), rate_hz)


def test_speech_is_heard_in_its_own_time_and_told_of() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        assert await playout.play(speech(0.5), 1) == pytest.approx(began_s, abs=FRAME_S)
        assert await playout.play(speech(0.5), 1) == pytest.approx(began_s + 0.5, abs=FRAME_S)
        await playout.drain()
        assert loop.time() - began_s == pytest.approx(1.0, abs=2 * FRAME_S)
        assert playout.heard_s(1) == pytest.approx(1.0, abs=0.001)
        await asyncio.sleep(0.1)

    heard, wire = on_a_wire(talk)
    assert heard.told == [("playing", 1), ("played", 1)]
    sound = wire.sound().astype(float) / 32768
    loud = np.flatnonzero(np.abs(sound) > 0.01)
    assert (loud[-1] - loud[0]) / RATE_HZ == pytest.approx(1.0, abs=0.01), "in one piece"


def test_a_pause_stands_still_at_the_frame_and_goes_on_at_the_sample() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        await playout.play(speech(1.0), 1)
        await asyncio.sleep(0.31)
        playout.pause()
        at_s = playout.heard_s(1)
        assert at_s == pytest.approx(0.32, abs=FRAME_S)
        await asyncio.sleep(0.5)
        assert playout.heard_s(1) == at_s
        playout.resume()
        await playout.drain()
        assert playout.heard_s(1) == pytest.approx(1.0, abs=0.001)

    heard, wire = on_a_wire(talk)
    sounding = [frame for frame in wire.frames if frame is not None and np.abs(frame).max() > 3000]
    assert len(sounding) in (50, 51, 52)
    whole = [frame for frame in sounding if np.abs(frame[FRAME_SAMPLES // 2 :]).any()]  # not the one that fades
    steps = np.abs(np.diff(np.concatenate(whole[1:-1]).astype(int)))
    assert steps.max() < 32768 * 0.3 * 2 * np.pi * 440 / RATE_HZ * 1.1, "no sample was left out or heard twice"
    assert heard.told == [("playing", 1), ("played", 1)]


def test_what_is_thrown_away_is_never_heard_and_ends_softly() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        await playout.play(speech(5.0), 1)
        await asyncio.sleep(1.0)
        playout.pause()
        playout.clear()
        playout.resume()
        assert playout.heard_s(1) == pytest.approx(1.0, abs=2 * FRAME_S)
        await playout.drain()  # nothing to wait for
        await asyncio.sleep(0.5)
        await playout.play(speech(0.2), 2)
        await playout.drain()

    heard, wire = on_a_wire(talk)
    assert heard.told == [("playing", 1), ("cleared", 1), ("playing", 2), ("played", 2)]
    sound = wire.sound().astype(int)
    assert np.abs(np.diff(sound)).max() < 1500, "no click"
    assert np.count_nonzero(np.abs(sound) > 328) / RATE_HZ < 1.3


def test_replies_behind_one_another_are_told_of_one_by_one() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        await playout.play(speech(0.3), 1)
        first = asyncio.create_task(playout.drain())
        await asyncio.sleep(0)
        await playout.play(speech(0.3), 2)
        second = asyncio.create_task(playout.drain())
        await first
        assert playout.heard_s(1) == pytest.approx(0.3, abs=0.001)
        assert playout.heard_s(2) < 0.05
        await second
        assert playout.heard_s(2) == pytest.approx(0.3, abs=0.001)

    heard, _ = on_a_wire(talk)
    assert heard.told == [("playing", 1), ("played", 1), ("playing", 2), ("played", 2)]


def test_a_voice_that_is_far_ahead_waits() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for _ in range(30):
            await playout.play(speech(1.0), 1)
        assert loop.time() - began_s == pytest.approx(30 - MAX_AHEAD_S, abs=0.1)

    on_a_wire(talk)


def test_a_voice_that_waits_is_let_go_when_all_is_thrown_away() -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        async def speak() -> None:
            for _ in range(30):
                await playout.play(speech(1.0), 1)

        speaking = asyncio.create_task(speak())
        await asyncio.sleep(0.5)
        assert not speaking.done()
        playout.clear()
        async with asyncio.timeout(25):
            await speaking

    on_a_wire(talk)


@pytest.mark.parametrize("rate_hz", [8000, 16000, 22050, 24000, 48000])
def test_whatever_the_rate_of_a_voice_its_length_is_kept(rate_hz: int) -> None:
    async def talk(playout: Playout, wire: Wire) -> None:
        for _ in range(10):
            await playout.play(speech(0.1, rate_hz), 1)
        await playout.drain()
        assert playout.heard_s(1) == pytest.approx(1.0, abs=0.001)

    on_a_wire(talk)


# ---------------------------------------------------------------------------- the beat


def test_the_beat_does_not_drift_and_catches_up_with_a_small_delay() -> None:
    async def main() -> list[tuple[float, int]]:
        beat, loop = Beat(FRAME_S), asyncio.get_running_loop()
        start_s = loop.time()
        found = []
        for n in range(100):
            due_s, left_out = await beat.wait()
            found.append((round(due_s - start_s, 6), left_out))
            await asyncio.sleep(0.05 if n == 50 else 0.001)
        return found

    assert run_virtual(main()) == [(round(n * FRAME_S, 6), 0) for n in range(100)]


def test_after_a_long_delay_beats_are_left_out_not_made_up_for() -> None:
    async def main() -> list[int]:
        beat = Beat(FRAME_S)
        await beat.wait()
        await asyncio.sleep(1.0)
        return [(await beat.wait())[1] for _ in range(3)]

    assert run_virtual(main()) == [49, 0, 0]
