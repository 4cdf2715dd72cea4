"""The gate: windows, openings and closings, and no sample lost. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import ScriptedVAD
from antiphon.pipeline.gate import Gate, GateSettings, SpeechClosed, SpeechOpened, Window

RATE_HZ = 16000
WINDOW = 512
WINDOW_S = WINDOW / RATE_HZ


class GivenVAD:
    """A VAD that gives the probabilities of a list, then silence."""

    rate_hz = RATE_HZ
    window_samples = WINDOW
    threshold = 0.5
    release_threshold = 0.35

    def __init__(self, probabilities: Sequence[float], hidden_hangover_ms: float = 0.0) -> None:
        self.left = list(probabilities)
        self.hidden_hangover_ms = hidden_hangover_ms

    def stream(self) -> GivenVAD:
        return self

    def probability(self, window: np.ndarray) -> float:
        assert window.shape == (WINDOW,) and window.dtype == np.float32
        return self.left.pop(0) if self.left else 0.0

    def reset(self) -> None:
        self.left = []


def ramp(samples: int) -> np.ndarray:
    """Each sample tells its place."""
    return (np.arange(samples) / 2**20).astype(np.float32)


def gate_of(probabilities: Sequence[float], settings: GateSettings | None = None, hangover_ms: float = 0.0) -> Gate:
    return Gate(GivenVAD(probabilities, hangover_ms), settings)  # type: ignore[arg-type]


def run(gate: Gate, samples: np.ndarray, *, start_s: float = 0.0) -> list[Window]:
    windows = list(gate.push(AudioFrame(samples, RATE_HZ, start_s)))
    return windows + list(gate.flush())


def changes(windows: Sequence[Window]) -> list[tuple[str, float]]:
    return [
        ("opened" if isinstance(window.change, SpeechOpened) else "closed", round(window.change.at_s, 4))
        for window in windows
        if window.change is not None
    ]


def pattern(text: str) -> list[float]:
    """ "#" speech, "." silence, "~" between release and threshold."""
    return [{"#": 0.9, ".": 0.1, "~": 0.4}[mark] for mark in text]


def heard(text: str, settings: GateSettings | None = None, hangover_ms: float = 0.0) -> list[tuple[str, float]]:
    """Openings and closings; times in windows."""
    gate = gate_of(pattern(text), settings, hangover_ms)
    found = changes(run(gate, ramp(len(text) * WINDOW)))
    return [(kind, round(at_s / WINDOW_S, 2)) for kind, at_s in found]


# -------------------------------------------------------------------------------- opening and closing


def test_speech_opens_and_silence_closes() -> None:
    assert heard("....######.......") == [("opened", 4), ("closed", 10)]


def test_a_short_sound_opens_nothing() -> None:
    assert heard("....##.............##...............") == []


def test_speech_with_a_dip_opens() -> None:
    assert heard("....#.##.#####....") == [("opened", 4), ("closed", 14)]


def test_old_sounds_are_forgotten() -> None:
    # 96 ms are three windows, 320 ms are ten: the third comes too late
    assert heard("#.#" + "." * 8 + "#....") == []
    assert heard("#.#" + "." * 6 + "#....") == [("opened", 0), ("closed", 10)]


def test_a_dip_while_speaking_does_not_close() -> None:
    assert heard("######.######....") == [("opened", 0), ("closed", 13)]


def test_between_the_thresholds_speech_goes_on_and_does_not_begin() -> None:
    assert heard("~~~~~~~~~~") == []
    assert heard("####~~~~~~~....") == [("opened", 0), ("closed", 11)]


def test_the_vads_own_hangover_is_taken_off() -> None:
    assert heard("....######.......", hangover_ms=64.0) == [("opened", 4), ("closed", 8)]
    gate = gate_of(pattern("####....."), hangover_ms=500.0)
    windows = run(gate, ramp(9 * WINDOW))
    assert [at_s for kind, at_s in changes(windows)] == [0.0, 0.0], "never before the speech itself"


def test_the_end_of_speech_is_known_before_the_gate_closes() -> None:
    gate = gate_of(pattern("....#####"))
    windows = run(gate, ramp(9 * WINDOW))
    assert gate.speaking and changes(windows) == [("opened", round(4 * WINDOW_S, 4))]
    assert gate.last_speech_s == pytest.approx(9 * WINDOW_S)


def test_it_suspects_speech_before_it_is_sure() -> None:
    gate = gate_of(pattern(".##.####..#"))
    suspects = []
    for start in range(0, 11 * WINDOW, WINDOW):
        run_one = list(gate.push(AudioFrame(ramp(WINDOW), RATE_HZ, start / RATE_HZ)))
        assert len(run_one) == 1
        suspects.append("?" if gate.suspects_speech else "-")
    assert "".join(suspects) == "-??-------?", "open from the third window of speech on, closed after two of silence"


def test_it_opens_again_and_again() -> None:
    found = heard(("....####....") * 5)
    assert [kind for kind, _ in found] == ["opened", "closed"] * 5
    assert [at for _, at in found] == [at + 12 * number for number in range(5) for at in (4, 8)]


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        (GateSettings(start_ms=0), "...#....", [("opened", 3), ("closed", 4)]),
        (GateSettings(start_ms=32), "...#....", [("opened", 3), ("closed", 4)]),
        (GateSettings(stop_ms=0), "####.###....", [("opened", 0), ("closed", 4), ("opened", 5), ("closed", 8)]),
        (GateSettings(stop_ms=160), "####....####.....", [("opened", 0), ("closed", 12)]),
        (GateSettings(start_ms=320, start_window_ms=320), "#########.##########...", [("opened", 10), ("closed", 20)]),
    ],
)  # fmt: skip
def test_settings(settings: GateSettings, text: str, expected: list[tuple[str, int]]) -> None:
    assert heard(text, settings) == expected


# ------------------------------------------------------------------------------------------- pre-roll


def test_the_opening_brings_its_pre_roll() -> None:
    gate = gate_of(pattern("." * 20 + "####...."))
    opened = next(window.change for window in run(gate, ramp(28 * WINDOW)) if window.change is not None)
    assert isinstance(opened, SpeechOpened)
    begins = round(opened.audio.start_s * RATE_HZ)
    assert opened.at_s == pytest.approx(20 * WINDOW_S)
    assert opened.audio.start_s == pytest.approx(11 * WINDOW_S), "300 ms are nine windows and a bit"
    assert np.array_equal(opened.audio.samples, ramp(28 * WINDOW)[begins : 23 * WINDOW])


def test_pre_roll_reaches_no_further_than_there_is_audio() -> None:
    gate = gate_of(pattern("..####...."))
    opened = next(window.change for window in run(gate, ramp(10 * WINDOW)) if window.change is not None)
    assert isinstance(opened, SpeechOpened) and opened.audio.start_s == 0.0


def test_a_soon_second_opening_finds_the_pause_in_its_pre_roll() -> None:
    gate = gate_of(pattern("####.....####...."))
    opened = [window.change for window in run(gate, ramp(17 * WINDOW)) if isinstance(window.change, SpeechOpened)]
    assert len(opened) == 2
    assert opened[1].audio.start_s == pytest.approx(4 * WINDOW_S), "from the end of the first speech on"


# --------------------------------------------------------------------------------------------- windows


def test_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="wants 16000 Hz, not 8000"):
        list(gate_of([]).push(AudioFrame(np.zeros(10, np.float32), 8000)))


def test_nothing_gives_no_window() -> None:
    gate = gate_of([])
    assert list(gate.push(AudioFrame(np.empty(0, np.float32), RATE_HZ))) == [] == list(gate.flush())


def test_the_rest_is_filled_up_with_silence_once() -> None:
    gate = gate_of([])
    assert list(gate.push(AudioFrame(np.ones(100, np.float32), RATE_HZ))) == []
    (last,) = gate.flush()
    assert last.frame.samples.tolist() == [1.0] * 100 + [0.0] * 412
    assert list(gate.flush()) == []


def test_time_begins_where_the_stream_does() -> None:
    windows = run(gate_of(pattern("####....")), ramp(8 * WINDOW), start_s=100.0)
    assert [window.frame.start_s for window in windows] == pytest.approx([100 + n * WINDOW_S for n in range(8)])
    assert changes(windows) == [("opened", 100.0), ("closed", round(100 + 4 * WINDOW_S, 4))]


@given(
    st.lists(st.sampled_from("#.~"), max_size=80).map("".join),
    st.lists(st.integers(0, 3000), max_size=20),
)
def test_cutting_the_stream_elsewhere_changes_nothing(text: str, cuts: list[int]) -> None:
    samples = ramp(len(text) * WINDOW)
    whole = run(gate_of(pattern(text)), samples)
    gate = gate_of(pattern(text))
    pieces: list[Window] = []
    at = 0
    for size in [*cuts, len(samples)]:
        pieces += gate.push(AudioFrame(samples[at : at + size], RATE_HZ, at / RATE_HZ))
        at += size
    pieces += gate.flush()
    assert changes(pieces) == changes(whole)
    assert np.array_equal(
        np.concatenate([window.frame.samples for window in pieces] or [samples[:0]]),
        np.concatenate([window.frame.samples for window in whole] or [samples[:0]]),
    )


@given(st.lists(st.sampled_from("#.~"), max_size=120).map("".join), st.sampled_from([0.0, 30.0, 100.0, 400.0]))
def test_whatever_comes_the_rules_hold(text: str, hangover_ms: float) -> None:
    samples = ramp(len(text) * WINDOW)
    windows = run(gate_of(pattern(text), hangover_ms=hangover_ms), samples)
    assert len(windows) == len(text)
    found = [(index, window.change) for index, window in enumerate(windows) if window.change is not None]
    assert [isinstance(change, SpeechOpened) for _, change in found] == [n % 2 == 0 for n in range(len(found))]
    speaking = False
    for window in windows:
        if window.change is not None:
            speaking = isinstance(window.change, SpeechOpened)
        assert window.speaking == speaking
    times = [change.at_s for _, change in found]
    assert times == sorted(times)
    for index, change in found:
        now_s = (index + 1) * WINDOW_S
        assert change.at_s <= now_s + 1e-9
        if isinstance(change, SpeechOpened):
            begins = round(change.audio.start_s * RATE_HZ)
            assert np.array_equal(change.audio.samples, samples[begins : (index + 1) * WINDOW])
            assert 0 <= change.at_s - change.audio.start_s <= 0.3 + 1e-9
        else:
            assert isinstance(change, SpeechClosed)
            assert text[index - 1 : index + 1] == "..", "64 ms are two silent windows"


def test_a_scripted_vad_and_the_gate_agree() -> None:
    async def main() -> list[tuple[str, float]]:
        async with ScriptedVAD([(1.0, 2.0), (3.0, 4.0)]) as vad:
            return changes(run(Gate(vad), np.zeros(5 * RATE_HZ, dtype=np.float32)))

    found = asyncio.run(main())
    assert [kind for kind, _ in found] == ["opened", "closed"] * 2
    assert [at_s for _, at_s in found] == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=WINDOW_S)


def test_how_much_of_an_opening_is_speech_beyond_doubt() -> None:
    gate = gate_of([0.6, 0.95, 0.3, 0.99, 0.6, 0.92, 0.4, 0.9, 0.0, 0.0, 0.99, 0.99, 0.99], hangover_ms=32.0)
    sure = []
    for _ in range(13):
        list(gate.push(AudioFrame(ramp(WINDOW), RATE_HZ, len(sure) * WINDOW_S)))
        sure.append(gate.sure_ms)
    assert sure[:3] == [0, 0, 0], "closed"
    assert sure[3:9] == [32, 32, 64, 64, 96, 96], "two before it opened, each more; the hangover is taken off"
    assert sure[9:12] == [0, 0, 0], "closed"
    assert sure[12] == 64, "each opening by itself"
    gate.reset()
    assert gate.sure_ms == 0
