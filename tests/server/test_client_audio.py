"""Audio of a client elsewhere: what is sent, taken back, sent again; on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.server.client_audio import AHEAD_S, ClientTransport, from_pcm16, pcm16

RATE_HZ = 16000


class Speaker:
    """Plays what comes as soon as it comes, and forgets the rest when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[float, AudioFrame]] = []
        self.played: list[float] = []
        self.end_s = 0.0
        self.drops = 0

    def audio(self, frame: AudioFrame) -> None:
        begin_s = max(self.end_s, asyncio.get_running_loop().time())
        self.end_s = begin_s + frame.duration_s
        self.waiting.append((begin_s, frame))

    def drop(self) -> None:
        self.drops += 1
        self.settle()
        self.waiting.clear()
        self.end_s = 0.0

    def flush(self) -> None:
        pass

    async def room(self) -> None:
        pass

    def settle(self) -> None:
        """Book what has been played until now."""
        now_s = asyncio.get_running_loop().time()
        for begin_s, frame in self.waiting:
            count = min(len(frame.samples), max(0, round((now_s - begin_s) * frame.rate_hz)))
            self.played += frame.samples[:count].tolist()
        self.waiting.clear()


def ramp(begin: int, count: int) -> AudioFrame:
    """Samples that say which they are."""
    return AudioFrame((np.arange(begin, begin + count) / 1e6).astype(np.float32), RATE_HZ, 0.0)


def test_a_pause_takes_back_what_was_not_heard_and_goes_on_at_that_sample() -> None:
    async def main() -> tuple[list[float], int]:
        speaker = Speaker()
        transport = ClientTransport(speaker, rate_hz=RATE_HZ)
        for number in range(4):
            await transport.play(ramp(number * 4000, 4000), mark=1)  # a second in all, sent at once
        await asyncio.sleep(0.3)
        transport.pause()
        assert transport.heard_s(1) == pytest.approx(0.3)
        await asyncio.sleep(2.0)
        await transport.play(ramp(16000, 4000), mark=1)
        transport.resume()
        await transport.drain()
        speaker.settle()
        return speaker.played, speaker.drops

    played, drops = run_virtual(main())
    assert np.allclose(played, np.arange(20000) / 1e6, atol=1e-9), "each sample once, in order"
    assert drops == 1


def test_what_is_cleared_is_not_sent_again_and_not_heard() -> None:
    async def main() -> tuple[list[float], float]:
        speaker = Speaker()
        transport = ClientTransport(speaker, rate_hz=RATE_HZ)
        await transport.play(ramp(0, 16000), mark=1)
        await asyncio.sleep(0.25)
        transport.pause()
        transport.clear()
        transport.resume()
        await transport.play(ramp(50000, 1600), mark=2)
        await transport.drain()
        speaker.settle()
        return speaker.played, transport.heard_s(1)

    played, heard_s = run_virtual(main())
    assert heard_s == pytest.approx(0.25)
    assert np.allclose(played, [*(np.arange(4000) / 1e6), *((50000 + np.arange(1600)) / 1e6)], atol=1e-9)


def test_what_was_heard_to_its_end_is_not_taken_back() -> None:
    async def main() -> int:
        speaker = Speaker()
        transport = ClientTransport(speaker, rate_hz=RATE_HZ)
        await transport.play(ramp(0, 1600), mark=1)
        await transport.drain()
        transport.pause()
        transport.resume()
        transport.clear()
        return speaker.drops

    assert run_virtual(main()) == 0


@given(
    pieces=st.lists(st.integers(1, 3000), min_size=1, max_size=6),
    pauses=st.lists(st.tuples(st.integers(0, 6400), st.integers(0, 8000)), max_size=4),
)
def test_whatever_the_pauses_every_sample_is_heard_once(pieces: list[int], pauses: list[tuple[int, int]]) -> None:
    async def main() -> list[float]:
        speaker = Speaker()
        transport = ClientTransport(speaker, rate_hz=RATE_HZ)
        at = 0
        for count in pieces:
            await transport.play(ramp(at, count), mark=1)
            at += count
        for before, length in pauses:  # in samples: a client's clock is no finer
            await asyncio.sleep(before / RATE_HZ)
            transport.pause()
            await asyncio.sleep(length / RATE_HZ)
            transport.resume()
        await transport.drain()
        speaker.settle()
        return speaker.played

    played = run_virtual(main())
    assert len(played) == sum(pieces)
    assert np.allclose(played, np.arange(sum(pieces)) / 1e6, atol=1e-9)


def test_the_clients_count_tells_how_much_of_the_last_reply_was_played() -> None:
    async def main() -> list[tuple[int, float]]:
        transport = ClientTransport(Speaker(), rate_hz=RATE_HZ)
        found = [transport.played(0.0)]
        await transport.play(ramp(0, 16000), mark=1)
        await transport.drain()
        await transport.play(ramp(0, 16000), mark=2)
        await asyncio.sleep(0.6)
        transport.clear()
        found.append(transport.played(1.35))  # its loudspeaker is a quarter of a second late
        await transport.play(ramp(0, 16000), mark=3)
        found.append(transport.played(1.5))
        found.append(transport.played(99.0))
        return found

    none, second, third, absurd = run_virtual(main())
    assert none == (0, 0.0)
    assert second == (2, pytest.approx(0.35))
    assert third == (3, pytest.approx(0.15))
    assert absurd == (3, pytest.approx(1.0)), "no more than was sent"


def test_reports_in_the_middle_of_a_reply_count_for_the_next_one_only_once() -> None:
    async def main() -> list[tuple[int, float]]:
        transport = ClientTransport(Speaker(), rate_hz=RATE_HZ)
        found = []
        await transport.play(ramp(0, 8000), mark=0)  # a greeting
        await transport.drain()
        found.append(transport.played(0.5))
        await transport.play(ramp(0, 80000), mark=1)
        await asyncio.sleep(4.2)
        found.append(transport.played(4.7))
        await transport.drain()
        await transport.play(ramp(0, 16000), mark=0)  # are you still there?
        await transport.drain()
        found.append(transport.played(6.3))
        await transport.play(ramp(0, 16000), mark=2)
        found.append(transport.played(6.9))
        return found

    greeting, first, prompt, second = run_virtual(main())
    assert greeting == (0, pytest.approx(0.5))
    assert first == (1, pytest.approx(4.2))
    assert prompt == (0, pytest.approx(0.5 + 0.8))
    assert second == (2, pytest.approx(0.4))


def test_a_long_conversation_keeps_no_audio() -> None:
    async def main() -> tuple[int, int]:
        transport = ClientTransport(Speaker(), rate_hz=24000)
        await asyncio.sleep(0.1)
        for turn in range(1, 200):
            for count in (1601, 777, 3333):
                await transport.play(AudioFrame(np.zeros(count, dtype=np.float32), 24000, 0.0), mark=turn)
                await asyncio.sleep(0.0123)
            await transport.drain()
        await transport.play(AudioFrame(np.zeros(10, dtype=np.float32), 24000, 0.0), mark=200)
        return len(transport._pieces), len(transport._spans)

    pieces, spans = run_virtual(main())
    assert pieces <= 2
    assert spans <= 32


# ------------------------------------------------------------------------------------------- input


async def _taken(transport: ClientTransport) -> AsyncIterator[tuple[float, AudioFrame]]:
    async for frame in transport.frames():
        yield asyncio.get_running_loop().time(), frame


def test_input_in_a_hurry_is_heard_at_its_own_pace_and_live_input_at_once() -> None:
    async def hurried() -> list[float]:
        transport = ClientTransport(Speaker(), rate_hz=RATE_HZ)
        for _ in range(100):
            await transport.push(np.zeros(1600, dtype=np.float32))
        transport.end()
        return [at_s async for at_s, _ in _taken(transport)]

    async def live() -> list[float]:
        transport = ClientTransport(Speaker(), rate_hz=RATE_HZ)
        late: list[float] = []

        async def talk() -> None:
            for number in range(500):
                await asyncio.sleep(0.0199 if number % 50 else 0.3)  # a little fast, and a stall now and then
                sent.append(asyncio.get_running_loop().time())
                await transport.push(np.zeros(320, dtype=np.float32))
            transport.end()

        sent: list[float] = []
        talking = asyncio.create_task(talk())
        async for at_s, frame in _taken(transport):
            late.append(at_s - sent[round(frame.start_s * 50)])
        await talking
        return late

    times = run_virtual(hurried())
    assert 9.0 <= times[-1] <= 10.0 - AHEAD_S + 0.1
    assert max(run_virtual(live())) == 0.0


def test_frames_are_in_order_and_count_their_own_time() -> None:
    async def main() -> list[AudioFrame]:
        transport = ClientTransport(Speaker(), rate_hz=8000)
        for count in (80, 160, 1):
            await transport.push(np.ones(count, dtype=np.float32))
        transport.end()
        return [frame async for frame in transport.frames()]

    frames = run_virtual(main())
    assert [frame.start_s for frame in frames] == [0.0, 0.01, 0.03]
    assert {frame.rate_hz for frame in frames} == {8000}


def test_pcm16_both_ways_is_the_same_and_never_wraps() -> None:
    whole = np.arange(-32768, 32768, dtype=np.int32).astype("<i2").tobytes()
    assert pcm16(from_pcm16(whole)) == whole
    assert pcm16(np.array([1.0, 1.5, -1.5], dtype=np.float32)) == np.array([32767, 32767, -32768], "<i2").tobytes()
    with pytest.raises(ValueError, match="buffer size"):
        from_pcm16(b"abc")
