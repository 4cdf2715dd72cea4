"""Audio that goes out when it is due: in time, paused to the frame, cleared; on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.server.paced_audio import PacedTransport

RATE_HZ = 8000
FRAME = 160


class Line:
    """Keeps what comes, and when."""

    def __init__(self, **arguments: Any) -> None:
        self.transport = PacedTransport(self.take, **{"input_hz": RATE_HZ, "output_hz": RATE_HZ, **arguments})
        self.frames: list[tuple[float, np.ndarray[Any, Any] | None]] = []

    async def take(self, frame: np.ndarray[Any, Any] | None) -> None:
        self.frames.append((asyncio.get_running_loop().time(), frame))

    @property
    def sound(self) -> np.ndarray[Any, Any]:
        """What is no silence, as one."""
        kept = [frame for _, frame in self.frames if frame is not None]
        joined = np.concatenate(kept) if kept else np.zeros(0, np.float32)
        return joined[joined != 0]


def ramp(begin: int, count: int) -> AudioFrame:
    """Samples that say which they are; none is silence."""
    return AudioFrame(((np.arange(begin, begin + count) + 1) / 1e5).astype(np.float32), RATE_HZ)


def numbers(line: Line) -> np.ndarray[Any, Any]:
    return np.rint(line.sound * 1e5).astype(int) - 1


def during(use: Callable[[Line], Awaitable[Any]], **arguments: Any) -> tuple[Line, Any]:
    async def main() -> tuple[Line, Any]:
        line = Line(**arguments)
        running = asyncio.create_task(line.transport.run())
        found = await use(line)
        line.transport.close()
        await running
        return line, found

    return run_virtual(main())


def test_frames_go_out_every_20_ms_silence_between_replies() -> None:
    async def use(line: Line) -> None:
        await asyncio.sleep(0.1)
        await line.transport.play(ramp(0, 1600), 1)
        await line.transport.drain()
        await asyncio.sleep(0.1)

    line, _ = during(use, continuous=True)
    times = [at_s for at_s, _ in line.frames]
    assert np.allclose(np.diff(times), 0.02)
    assert all(frame is not None and len(frame) == FRAME for _, frame in line.frames)
    assert numbers(line).tolist() == list(range(1600))
    assert sum(frame is not None and not frame.any() for _, frame in line.frames) >= 8


def test_what_was_heard_is_known_to_the_frame_and_a_pause_holds_it() -> None:
    async def use(line: Line) -> list[float]:
        transport = line.transport
        for number in range(4):
            await transport.play(ramp(number * 800, 800), 1)
        await asyncio.sleep(0.15)
        found = [transport.heard_s(1)]
        transport.pause()
        await asyncio.sleep(2.0)
        found.append(transport.heard_s(1))
        transport.resume()
        await transport.drain()
        found.append(transport.heard_s(1))
        return found

    line, heard = during(use, continuous=True)
    assert heard[0] == pytest.approx(0.15, abs=0.021)
    assert heard[1] == pytest.approx(heard[0], abs=0.021), "a frame on its way is heard to its end"
    assert heard[2] == pytest.approx(0.4)
    assert numbers(line).tolist() == list(range(3200)), "each sample once, in order"


def test_what_is_cleared_is_never_sent() -> None:
    async def use(line: Line) -> float:
        transport = line.transport
        await transport.play(ramp(0, 3200), 1)
        await asyncio.sleep(0.1)
        transport.pause()
        transport.clear()
        transport.resume()
        await transport.play(ramp(9000, 320), 2)
        await transport.drain()
        return transport.heard_s(1)

    line, heard_s = during(use, continuous=True)
    sent = numbers(line).tolist()
    assert sent[-320:] == list(range(9000, 9320))
    assert heard_s == pytest.approx((len(sent) - 320) / RATE_HZ) and heard_s == pytest.approx(0.1, abs=0.021)


def test_an_utterance_has_an_end_and_a_lead_goes_out_before_it_is_due() -> None:
    async def use(line: Line) -> tuple[float, float]:
        transport = line.transport
        await transport.play(ramp(0, 8000), 1)
        await asyncio.sleep(0.0)
        at_once_s = len(line.sound) / RATE_HZ
        heard_s = transport.heard_s(1)
        await transport.drain()
        await asyncio.sleep(0.1)
        return at_once_s, heard_s

    line, (at_once_s, heard_s) = during(use, lead_s=0.3)
    assert at_once_s == pytest.approx(0.32, abs=0.021) and heard_s == pytest.approx(0.0, abs=0.021)
    assert [frame is None for _, frame in line.frames].count(True) == 1 and line.frames[-1][1] is None
    assert line.frames[-1][0] == pytest.approx(0.7, abs=0.03), "all was sent by then; it is heard 0.3 s later"


def test_an_interrupted_utterance_ends_at_once() -> None:
    async def use(line: Line) -> None:
        transport = line.transport
        await transport.play(ramp(0, 8000), 1)
        await asyncio.sleep(0.5)
        transport.pause()
        transport.clear()
        transport.resume()
        await asyncio.sleep(0.5)

    line, _ = during(use, lead_s=0.3)
    assert line.frames[-1] == (pytest.approx(0.5, abs=0.01), None)
    assert len(line.sound) / RATE_HZ == pytest.approx(0.8, abs=0.03)


def test_a_voice_that_is_far_ahead_waits() -> None:
    async def use(line: Line) -> float:
        for number in range(20):
            await line.transport.play(ramp(number * 800, 800), 1)
        return asyncio.get_running_loop().time()

    _, after_s = during(use, continuous=True)
    assert after_s == pytest.approx(2.0 - 0.5 - 0.1, abs=0.15)


def test_replies_of_another_rate_are_resampled_and_whole() -> None:
    async def use(line: Line) -> float:
        tone = np.sin(2 * np.pi * 300 / 24000 * np.arange(24000)).astype(np.float32)
        for at in range(0, 24000, 1000):
            await line.transport.play(AudioFrame(tone[at : at + 1000], 24000), 1)
        await line.transport.drain()
        return line.transport.heard_s(1)

    line, heard_s = during(use, continuous=True)
    assert heard_s == pytest.approx(1.0, abs=0.001)
    assert np.abs(line.sound).max() == pytest.approx(1.0, abs=0.05)


@settings(max_examples=40)
@given(
    pieces=st.lists(st.integers(1, 2000), min_size=1, max_size=6),
    pauses=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=4),
    continuous=st.booleans(),
    lead_s=st.sampled_from([0.0, 0.3]),
)
def test_whatever_the_pauses_every_sample_is_sent_once(
    pieces: list[int], pauses: list[tuple[int, int]], continuous: bool, lead_s: float
) -> None:
    async def use(line: Line) -> float:
        transport = line.transport

        async def say() -> None:
            at = 0
            for count in pieces:
                await transport.play(ramp(at, count), 1)
                at += count
            await transport.drain()

        saying = asyncio.create_task(say())
        for before_ms, length_ms in pauses:
            await asyncio.sleep(before_ms / 1000)
            transport.pause()
            await asyncio.sleep(length_ms / 1000)
            transport.resume()
        await saying
        return transport.heard_s(1)

    line, heard_s = during(use, continuous=continuous, lead_s=lead_s)
    assert numbers(line).tolist() == list(range(sum(pieces)))
    assert heard_s == pytest.approx(sum(pieces) / RATE_HZ, abs=1e-9)
