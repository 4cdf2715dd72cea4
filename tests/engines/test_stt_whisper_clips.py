"""Word errors and inventions over the human clip set, on the real models."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.benchmarks.stt_window import FULL, Clip, Row, load_clips, score_window
from antiphon.engines.audio import resample
from antiphon.engines.models.store import ModelStore
from antiphon.engines.stt.whisper_runtime import WhisperRuntime
from antiphon.engines.stt.whisper_values import DecodeRequest
from antiphon.engines.stt.whisper_window import WindowPolicy, policy_for
from antiphon.pipeline.audio_file import read_audio

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS", Path(__file__).parents[2].parent / "shared" / "audio"))
MODELS = ("whisper-tiny.en", "whisper-base")

pytestmark = [
    pytest.mark.real,
    pytest.mark.clips,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIPS.exists(), reason="needs the human clip set"),
]


class Loaded:
    """A model with its measured window, and the score of the clips on it."""

    def __init__(self, model: str) -> None:
        files = ModelStore().resolve(model)
        self.model = model
        self.policy: WindowPolicy = policy_for(model, files.metadata)
        self.runtime = WhisperRuntime(files.directory, "cpu", "int8", 1)
        self.clips = load_clips(CLIPS)
        self.short = self.score(self.policy, self.clips)

    def score(self, policy: WindowPolicy, clips: list[Clip]) -> Row:
        return score_window(self.runtime, clips, policy, 1, 1, "en")


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    model = Loaded(request.param)
    yield model
    model.runtime.close()


def test_a_short_window_costs_no_more_word_errors_than_allowed(loaded: Loaded) -> None:
    full = loaded.score(FULL, loaded.clips)
    allowed = {"whisper-tiny.en": 0, "whisper-base": 2}[loaded.model]
    assert loaded.policy.floor_s <= 10.0
    assert loaded.short.errors <= full.errors + allowed


def test_speech_at_8_khz_costs_at_most_3_more_word_errors(loaded: Loaded) -> None:
    """whisper-base loses 4 by the narrow band itself, on the full window too: there the window must cost nothing."""
    narrow = [
        Clip(c.name, resample(resample(c.samples, 16_000, 8_000), 8_000, 16_000), c.transcript) for c in loaded.clips
    ]
    errors = loaded.score(loaded.policy, narrow).errors
    if loaded.model == "whisper-tiny.en":
        assert errors <= loaded.short.errors + 3
    else:
        assert errors <= loaded.score(FULL, narrow).errors


def test_no_speech_is_thrown_away_and_nothing_is_heard_in_noise(loaded: Loaded) -> None:
    with (CLIPS / "index.tsv").open(encoding="utf-8", newline="") as file:
        kinds = {row["file"]: row["kind"] for row in csv.DictReader(file, delimiter="\t")}
    assert [score.name for score in loaded.short.scores if score.rejected] == []
    for name, kind in kinds.items():
        if name in {clip.name for clip in loaded.clips}:
            continue
        piece = loaded.runtime.decode(read_audio(CLIPS / name).samples, DecodeRequest(loaded.policy))
        assert bool(piece.text) == (kind != "noise"), (name, piece.rejected_because)


def test_nothing_is_heard_in_pieces_of_noise(loaded: Loaded) -> None:
    """The gate cuts turns of any length out of noise."""
    for path in sorted(CLIPS.glob("noise__*")):
        samples = read_audio(path).samples
        for length, step in ((9_600, 64_000), (32_000, 80_000), (80_000, 120_000)):
            for start in range(0, len(samples) - length + 1, step):
                piece = loaded.runtime.decode(samples[start : start + length], DecodeRequest(loaded.policy))
                assert piece.text == "", (path.name, start, length)
