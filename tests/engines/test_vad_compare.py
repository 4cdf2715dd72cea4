"""The arithmetic of `benchmarks.vad_compare`, and its command on a tiny clip set of its own."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmarks import vad_compare
from antiphon.benchmarks.vad_compare import Clip, audible, decide, main, measure, most_within, read_clips, table
from antiphon.engines.audio import Samples


class LoudnessVAD:
    """Loud is speech; holds it for one more window, and says so."""

    rate_hz = 16000
    window_samples = 320
    hidden_hangover_ms = 20.0
    threshold = 0.5
    release_threshold = 0.5

    def __init__(self) -> None:
        self._held = False

    def stream(self) -> LoudnessVAD:
        return LoudnessVAD()

    def probability(self, window: Samples) -> float:
        loud = bool(np.abs(window).max() > 0.01)
        speech, self._held = loud or self._held, loud
        return float(speech)

    def reset(self) -> None:
        self._held = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def tone(seconds: float, scale: float = 0.5) -> Samples:
    time_s = np.arange(round(seconds * 16000)) / 16000
    return (scale * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)


def hush(seconds: float, scale: float = 1e-4) -> Samples:
    return np.random.default_rng(0).normal(0, scale, round(seconds * 16000)).astype(np.float32)


SPOKEN = Clip("spoken.wav", np.concatenate([hush(0.6), tone(0.8), hush(0.6)]), 0.6, 1.4)
ROOM = Clip("room.wav", hush(2.0), None, None)
BANGS = Clip("bangs.wav", np.concatenate([hush(0.4), tone(0.3), hush(0.8), tone(0.3), hush(0.2)]), None, None)


def test_measures_what_is_known_beforehand() -> None:
    row = measure("loudness", LoudnessVAD(), [SPOKEN, ROOM])
    assert (row.missed, row.false_starts) == (0, 0)
    for onset in (row.onset_label, row.onset_energy):
        assert onset == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    for end in (row.end_label, row.end_energy):
        assert end == pytest.approx((0.0, 0.0, 0.0), abs=1e-6), "the stated hangover was taken off"
    assert row.hold == pytest.approx((20.0, 20.0, 20.0), abs=1e-6)
    assert (row.least_speech_ms, row.most_noise_ms) == (600.0, 0.0)
    assert row.cpu_percent > 0


def test_counts_false_starts_and_misses() -> None:
    silent = Clip("silent.wav", hush(1.0), 0.2, 0.8)
    row = measure("loudness", LoudnessVAD(), [SPOKEN, silent, BANGS])
    assert (row.missed, row.false_starts) == (1, 2)
    assert row.least_speech_ms == 0.0
    assert row.most_noise_ms == 320.0


@given(st.lists(st.booleans(), max_size=60), st.sampled_from([10.0, 20.0, 32.0]), st.sampled_from([100.0, 600.0]))
def test_most_within_is_the_best_of_all_windows(decisions: list[bool], window_ms: float, sliding_ms: float) -> None:
    count = int(sliding_ms // window_ms)
    best = max((sum(decisions[at : at + count]) for at in range(len(decisions) + 1)), default=0)
    assert most_within(np.array(decisions, dtype=np.bool_), window_ms, sliding_ms) == best * window_ms


@given(st.lists(st.floats(0, 1), max_size=40))
def test_without_hysteresis_a_decision_is_a_comparison(probabilities: list[float]) -> None:
    assert decide(probabilities, 0.5, 0.5).tolist() == [value >= 0.5 for value in probabilities]


def test_nothing_is_audible_in_silence() -> None:
    assert audible(np.zeros(16000, dtype=np.float32)) is None
    heard = audible(SPOKEN.samples)
    assert heard is not None
    assert (heard.start_s, heard.end_s) == pytest.approx((0.6, 1.4))
    assert heard.trusted


def write_clips(folder: Path) -> None:
    lines = ["file\tkind\tspeech_start_s\tspeech_end_s"]
    for clip in (SPOKEN, ROOM):
        soundfile.write(folder / clip.name, clip.samples, 16000)
        kind, start, end = ("noise", "", "") if clip.start_s is None else ("human", clip.start_s, clip.end_s)
        lines.append(f"{clip.name}\t{kind}\t{start}\t{end}")
    (folder / "index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_command_prints_a_row_for_each_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clips(tmp_path)
    monkeypatch.setattr(vad_compare, "ENGINES", (("mode three", "webrtcvad", {"mode": 3}),))
    assert main(["--clips", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 clips of speech, 1 of noise")
    assert lines[-1].startswith("| mode three | ")
    assert lines[-1].count("|") == lines[-2].count("|") == lines[-3].count("|")


def test_a_table_shows_a_dash_where_nothing_was_measured() -> None:
    row = measure("loudness", LoudnessVAD(), [ROOM])
    assert "| loudness | 0 | 0 | - | - | - | - | - | 0 | 0 | " in table([row])


def test_unusable_clip_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no index\.tsv in "):
        read_clips(tmp_path)
    write_clips(tmp_path)
    soundfile.write(tmp_path / ROOM.name, ROOM.samples, 48000)
    with pytest.raises(SystemExit, match=r"room\.wav has 48000 Hz"):
        read_clips(tmp_path)
