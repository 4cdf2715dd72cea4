"""The sink: when what is heard, and what it opens with."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks.sink import GAP_MS, Piece, Sink, first_audible, gaps_ms, onset
from antiphon.engines.audio import Samples
from antiphon.engines.testing import run_virtual

RATE_HZ = 16000


def tone(seconds: float, level: float = 0.3, hz: float = 220.0) -> Samples:
    at = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.cos(2 * np.pi * hz * at)).astype(np.float32)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE_HZ), np.float32)


def hiss(seconds: float, level: float = 0.03) -> Samples:
    return np.random.default_rng(3).normal(0, level, round(seconds * RATE_HZ)).astype(np.float32)


def test_audio_is_heard_when_it_arrives_or_after_what_came_before() -> None:
    async def play() -> list[float]:
        sink = Sink()
        await asyncio.sleep(1.0)
        starts = [sink.push(tone(0.5), RATE_HZ), sink.push(tone(0.25), RATE_HZ)]
        await asyncio.sleep(2.0)
        return [*starts, sink.push(tone(0.1), RATE_HZ), sink.end_s]

    assert run_virtual(play()) == pytest.approx([1.0, 1.5, 3.0, 3.1])


def test_play_waits_while_much_is_ahead_and_hurry_lets_everybody_go() -> None:
    async def play() -> tuple[float, float, float]:
        loop = asyncio.get_running_loop()
        sink = Sink(max_ahead_s=0.5)
        await sink.play(tone(2.0), RATE_HZ)
        first_s = loop.time()
        await sink.play(tone(2.0), RATE_HZ)  # its beginning is 2 s ahead
        waited_s = loop.time()
        loop.call_later(1.0, sink.hurry)
        await sink.drain()
        return first_s, waited_s, loop.time()

    assert run_virtual(play()) == pytest.approx((0.0, 1.5, 2.5))


def test_clear_keeps_exactly_what_was_heard() -> None:
    async def play() -> Sink:
        sink = Sink()
        sink.push(tone(1.0), RATE_HZ)
        sink.push(tone(1.0), RATE_HZ)
        await asyncio.sleep(0.25)
        sink.clear()
        assert not sink.playing
        sink.push(tone(0.5), RATE_HZ)
        return sink

    sink = run_virtual(play())
    assert [(piece.start_s, piece.end_s) for piece in sink.pieces] == [(0.0, 0.25), (0.25, 0.75)]


def test_the_onset_is_the_first_sample_above_one_percent_not_the_first_sample() -> None:
    quiet = np.full(1600, 0.01, np.float32)  # exactly 1 % is not above it
    found = onset([Piece(2.0, quiet, RATE_HZ), Piece(2.1, tone(1.0), RATE_HZ)])
    assert found is not None
    assert (round(found.at_s, 6), found.kind) == (2.1, "voice")
    assert onset([Piece(2.0, quiet, RATE_HZ)]) is None
    assert onset([]) is None


def test_a_click_is_no_voice_but_a_word_after_it_does_not_hide_it() -> None:
    click = np.concatenate([tone(0.004, 0.5), silence(0.6), tone(1.0)])
    found = onset([Piece(1.0, click, RATE_HZ)])
    assert found is not None
    assert (found.at_s, found.kind) == (1.0, "click")


def test_a_breath_is_no_voice_and_a_consonant_is() -> None:
    breath = onset([Piece(0.0, np.concatenate([hiss(0.5), tone(1.0)]), RATE_HZ)])
    consonant = onset([Piece(0.0, np.concatenate([hiss(0.12), tone(1.0)]), RATE_HZ)])
    assert breath is not None
    assert consonant is not None
    assert (breath.kind, consonant.kind) == ("breath", "voice")


@pytest.mark.parametrize("hz", [65, 110, 220, 440])
def test_voices_of_every_pitch_are_voices(hz: float) -> None:
    found = onset([Piece(0.0, tone(0.6, 0.1, hz) + hiss(0.6, 0.005), RATE_HZ)])
    assert found is not None
    assert found.kind == "voice"


def test_a_voice_that_comes_in_small_pieces_is_looked_at_as_a_whole() -> None:
    samples = tone(0.6)
    pieces = [Piece(n * 0.02, samples[n * 320 : (n + 1) * 320], RATE_HZ) for n in range(30)]
    found = onset(pieces)
    assert found is not None
    assert found.kind == "voice"


def test_gaps_are_told_and_what_any_buffer_bridges_is_none() -> None:
    pieces = [Piece(0.0, tone(1.0), RATE_HZ), Piece(1.0 + GAP_MS / 2000, tone(1.0), RATE_HZ)]
    assert gaps_ms(pieces) == []
    pieces.append(Piece(2.5, tone(1.0), RATE_HZ))
    assert gaps_ms(pieces) == [pytest.approx(495.0)]
    assert gaps_ms(pieces, until_s=1.5) == []


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.001, 1.0)), min_size=1, max_size=20))
def test_pieces_never_overlap_and_never_start_before_they_arrive(steps: list[tuple[float, float]]) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        sink = Sink()
        for wait_s, length_s in steps:
            await asyncio.sleep(wait_s)
            assert sink.push(tone(length_s), RATE_HZ) >= loop.time() - 1e-9
        for before, after in zip(sink.pieces, sink.pieces[1:], strict=False):
            assert after.start_s >= before.end_s - 1e-9
        assert first_audible(sink.pieces) == pytest.approx(steps[0][0])

    run_virtual(play())


def test_before_anything_was_heard_nothing_can_run_dry() -> None:
    silence, tone = np.zeros(240, dtype=np.float32), np.full(2400, 0.1, dtype=np.float32)
    taken_back = Piece(1.0, silence, 24000)
    answer = [Piece(2.74, tone, 24000), Piece(2.84, tone, 24000)]
    assert gaps_ms([taken_back, *answer]) == []
    assert gaps_ms([*answer, Piece(3.0, tone, 24000)]) == [pytest.approx(60.0)]
    assert gaps_ms([taken_back]) == []
