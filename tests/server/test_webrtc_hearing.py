"""What a caller says, without a network: packets in order, Opus, audio for the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import run_virtual
from antiphon.server.realtime.webrtc import hearing as hearing_module
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
