"""A call's audio, without a network: packets in order, Opus, what is heard of what is said, a steady beat."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.server.realtime.webrtc import hearing as hearing_module
from antiphon.server.realtime.webrtc.clock import Beat
from antiphon.server.realtime.webrtc.hearing import Hearing
from antiphon.server.realtime.webrtc.jitter import LOST_AFTER, Packet, Reorder
from antiphon.server.realtime.webrtc.opus import (
    FRAME_S,
    FRAME_SAMPLES,
    RATE_HZ,
    SILENCE,
    BadPacket,
    OpusDecoder,
    OpusEncoder,
    Pcm,
)
from antiphon.server.realtime.webrtc.playout import MAX_AHEAD_S, Playout

TONE: Pcm = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE_HZ) / RATE_HZ) * 32767).astype(np.int16)
TONE_24K = (0.3 * np.sin(2 * np.pi * 440 * np.arange(24000) / 24000)).astype(np.float32)


def packet(sequence: int, payload: bytes = b"x") -> Packet:
    return Packet(sequence % 65536, sequence * FRAME_SAMPLES % 2**32, payload)


def order(sequences: list[int]) -> list[int]:
    reorder = Reorder()
    return [one.sequence for each in sequences for one in reorder.push(packet(each))]


# ---------------------------------------------------------------------------- packets


def test_packets_in_order_go_through_at_once() -> None:
    reorder = Reorder()
    for n in range(65_500, 65_600):
        assert [one.sequence for one in reorder.push(packet(n))] == [n % 65536]


def test_packets_that_change_places_are_put_right() -> None:
    assert order([10, 12, 11, 13]) == [10, 11, 12, 13]
    assert order([65_534, 0, 65_535, 65_536 + 1]) == [65_534, 65_535, 0, 1]


def test_a_lost_packet_holds_up_no_more_than_two() -> None:
    reorder = Reorder()
    reorder.push(packet(1))
    assert [reorder.push(packet(n)) for n in (3, 4)] == [[], []]
    assert [one.sequence for one in reorder.push(packet(5))] == [3, 4, 5]
    assert reorder.push(packet(2)) == [], "too late"


def test_a_packet_counts_once() -> None:
    assert order([1, 1, 2, 2, 1]) == [1, 2]


def test_a_sender_that_begins_anew_is_followed() -> None:
    assert order([1, 2, 30_000, 30_001, 5, 6]) == [1, 2, 30_000, 30_001, 5, 6]


@given(st.lists(st.integers(0, 65535), max_size=300))
def test_whatever_comes_each_packet_counts_at_most_once_and_few_wait(sequences: list[int]) -> None:
    reorder = Reorder()
    out = [one for each in sequences for one in reorder.push(packet(each))]
    assert len(out) <= len(sequences)
    assert len(reorder._waiting) < LOST_AFTER


@given(st.permutations(range(6)), st.integers(0, 65535))
def test_what_is_given_is_in_order(arrival: list[int], start: int) -> None:
    reorder = Reorder()
    reorder.push(packet(start - 1))
    out = [(one.sequence - start) % 65536 for n in arrival for one in reorder.push(packet(start + n))]
    assert out == sorted(out)


# ---------------------------------------------------------------------------- Opus


def test_sound_survives_opus() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    packets = [encoder.encode(TONE[at : at + FRAME_SAMPLES]) for at in range(0, RATE_HZ, FRAME_SAMPLES)]
    heard = np.concatenate([decoder.decode(one) for one in packets]).astype(float)
    assert len(heard) == RATE_HZ
    loudness = np.sqrt(np.mean(heard[4800:] ** 2)) / np.sqrt(np.mean(TONE.astype(float) ** 2))
    assert loudness == pytest.approx(1.0, abs=0.05)
    assert sum(map(len, packets)) * 8 < 70_000, "bits of a second"


def test_silence_becomes_a_packet_of_three_bytes_that_is_made_once() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    decoder.decode(encoder.encode(TONE[:FRAME_SAMPLES]))
    packets = [encoder.encode(None) for _ in range(150)]
    assert len(packets[-1]) == 3 and packets[-1] is packets[-2]
    for one in packets:
        silence = decoder.decode(one)
    assert not silence.any()
    again = decoder.decode(encoder.encode(TONE[:FRAME_SAMPLES]))
    assert np.abs(again).max() > 5000, "and speech after it sounds"


@pytest.mark.parametrize("payload", [b"", b"\xff" * 30, b"abc" * 200])
def test_bytes_that_are_no_opus_break_nothing(payload: bytes) -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    with pytest.raises(BadPacket):
        decoder.decode(payload)
    assert len(decoder.decode(encoder.encode(SILENCE))) == FRAME_SAMPLES


# ---------------------------------------------------------------------------- what the caller says


class Speaker:
    """Sends frames of sound as packets."""

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self._encoder = OpusEncoder()
        self.sequence = 65_530
        self.timestamp = 2**32 - 3 * FRAME_SAMPLES

    def frame(self, *, lost: bool = False) -> None:
        payload = self._encoder.encode(TONE[:FRAME_SAMPLES])
        if not lost:
            self.hearing.take(Packet(self.sequence % 65536, self.timestamp % 2**32, payload))
        self.sequence += 1
        self.timestamp += FRAME_SAMPLES


def hear(speak: Callable[[Speaker], Awaitable[None]]) -> tuple[list[AudioFrame], Hearing]:
    async def main() -> tuple[list[AudioFrame], Hearing]:
        hearing = Hearing()

        async def listen() -> list[AudioFrame]:
            return [frame async for frame in hearing.frames()]

        listening = asyncio.create_task(listen())
        await speak(Speaker(hearing))
        hearing.end()
        return await listening, hearing

    return run_virtual(main())


def seconds(frames: list[AudioFrame]) -> float:
    return sum(frame.duration_s for frame in frames)


def test_the_session_gets_all_that_was_said_without_a_seam() -> None:
    async def speak(speaker: Speaker) -> None:
        for _ in range(50):
            speaker.frame()
            await asyncio.sleep(FRAME_S)

    frames, _ = hear(speak)
    assert seconds(frames) == pytest.approx(1.0, abs=1e-6) and {frame.rate_hz for frame in frames} == {RATE_HZ}
    assert [frame.start_s for frame in frames] == pytest.approx([n * FRAME_S for n in range(50)], abs=1e-6)


def test_what_is_lost_is_silence_of_the_same_length() -> None:
    async def speak(speaker: Speaker) -> None:
        for n in range(50):
            speaker.frame(lost=n in (20, 21))
            await asyncio.sleep(FRAME_S)

    frames, _ = hear(speak)
    sound = np.concatenate([frame.samples for frame in frames])
    assert len(sound) / RATE_HZ == pytest.approx(1.0, abs=1e-6)
    assert np.abs(sound[20 * FRAME_SAMPLES : 22 * FRAME_SAMPLES]).max() == 0
    assert np.abs(sound[23 * FRAME_SAMPLES :]).max() > 0.2


def test_a_long_silence_of_the_sender_is_no_long_burst() -> None:
    async def speak(speaker: Speaker) -> None:
        speaker.frame()
        await asyncio.sleep(30)
        speaker.timestamp += 30 * RATE_HZ
        speaker.frame()

    frames, _ = hear(speak)
    assert seconds(frames) == pytest.approx(1.0 + 2 * FRAME_S, abs=1e-6)


def test_who_sends_faster_than_time_passes_is_cut() -> None:
    async def speak(speaker: Speaker) -> None:
        for _ in range(1000):  # 20 s in one
            speaker.frame()
            await asyncio.sleep(0.001)

    frames, hearing = hear(speak)
    assert 2.5 < seconds(frames) < 4.0
    assert hearing.dropped > 800


def test_what_nobody_takes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing_module, "MAX_WAITING_S", 1.0)

    async def main() -> int:
        hearing = Hearing()
        speaker = Speaker(hearing)
        for _ in range(200):
            speaker.frame()
            await asyncio.sleep(FRAME_S)
        return hearing.dropped

    assert 140 < run_virtual(main()) < 155


def test_rubbish_between_packets_is_left_out() -> None:
    async def speak(speaker: Speaker) -> None:
        for n in range(20):
            if n == 10:
                speaker.hearing.take(Packet(speaker.sequence % 65536, speaker.timestamp % 2**32, b"\xff" * 20))
                speaker.sequence += 1
                speaker.timestamp += FRAME_SAMPLES
            else:
                speaker.frame()
            await asyncio.sleep(FRAME_S)

    frames, hearing = hear(speak)
    assert hearing.dropped == 1 and seconds(frames) == pytest.approx(0.4, abs=1e-6)


# ---------------------------------------------------------------------------- what the caller hears


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
