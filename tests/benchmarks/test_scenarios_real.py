"""The scenario set in a real voice: the truth is in the sound, the words can be understood, and it comes out twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from antiphon.benchmarks import scenarios
from antiphon.benchmarks.clips import INDEX, Clip, load_clips
from antiphon.engines.audio import AudioFrame
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find
from antiphon.pipeline.cli import app

pytestmark = pytest.mark.real

NAMES = (
    "question_02",
    "pause_tune_04_function_400",
    "pause_held_out_40_twice_800_400",
    "pause_tune_23_clause_200",
    "noise_fan",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_in(tmp_path_factory.mktemp("set"))


def made_in(folder: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        few = [item for item in scenarios.items() if item.name in NAMES]
        patch.setattr(scenarios, "items", lambda only=(): few)
        result = CliRunner().invoke(app, ["bench", "scenarios", str(folder)])
    assert result.exit_code == 0, result.output
    assert f"{len(NAMES)} clips" in result.output
    return folder


def test_the_truth_is_in_the_sound(folder: Path) -> None:
    clips = {clip.path.stem: clip for clip in load_clips(folder)}
    assert set(clips) == set(NAMES)
    assert clips["question_02"].pauses_ms == ()
    assert clips["pause_tune_04_function_400"].pauses_ms == (400.0,)
    assert clips["pause_held_out_40_twice_800_400"].pauses_ms == (800.0, 400.0)
    assert clips["pause_tune_23_clause_200"].pauses_ms == (200.0,)
    for clip in clips.values():
        samples = clip.samples()
        if clip.speech_start_s is None or clip.speech_end_s is None:
            continue
        start, end = round(clip.speech_start_s * 16000), round(clip.speech_end_s * 16000)
        outside = np.concatenate([samples[: start - 80], samples[end + 80 :]])
        assert 0.3 <= clip.speech_start_s <= 1.1
        assert 20 * np.log10(np.sqrt(np.mean(outside**2))) < -58, "nothing but the floor"
        for edge in (samples[start - 40 : start + 400], samples[end - 400 : end + 40]):
            assert np.abs(edge).max() > 0.002, "speech begins and ends at its truth"


def test_the_words_are_understood(folder: Path) -> None:
    import jiwer
    from whisper_normalizer.english import EnglishTextNormalizer

    spec = find("stt", "faster_whisper")
    clips = [clip for clip in load_clips(folder) if clip.has_speech]

    async def heard() -> list[str]:
        host = EngineHost()
        options = spec.options_class().model_validate({"model": "whisper-base"})
        try:
            async with spec.create(options, EngineContext(host, ModelStore())) as stt:
                return [await text_of(stt, clip) for clip in clips]
        finally:
            await host.close()

    async def text_of(stt: object, clip: Clip) -> str:
        transcript = await stt.transcribe(AudioFrame(clip.samples(), 16000))  # type: ignore[attr-defined]
        return str(transcript.text)

    normalise = EnglishTextNormalizer()
    texts = asyncio.run(heard())
    wanted = [normalise(clip.transcript) for clip in clips]
    assert jiwer.wer(wanted, [normalise(text) for text in texts]) < 0.1, texts


def test_it_comes_out_twice(folder: Path, tmp_path: Path) -> None:
    again = made_in(tmp_path)
    for name in (*(f"{name}.wav" for name in NAMES), INDEX):
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


def test_the_labeller_finds_the_same_truth_and_drafts_the_words(folder: Path, tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.wav").write_bytes((folder / f"{name}.wav").read_bytes())
    result = CliRunner().invoke(app, ["bench", "label", str(tmp_path), "--transcribe", "tiny.yaml"])
    assert result.exit_code == 0, result.output
    found = {clip.name: clip for clip in load_clips(tmp_path)}
    for clip in load_clips(folder):
        label = found[clip.name]
        if clip.speech_start_s is None or clip.speech_end_s is None:
            assert label.kind == "noise"
            continue
        assert label.speech_start_s == pytest.approx(clip.speech_start_s, abs=0.05)
        assert label.speech_end_s == pytest.approx(clip.speech_end_s, abs=0.05)
        assert len(label.pauses_ms) == len(clip.pauses_ms)
        assert label.pauses_ms == pytest.approx(clip.pauses_ms, abs=60)
        assert (label.kind, label.transcript, label.lang) == ("machine-transcript", "", "en")
    assert "weather" in found["question_02.wav"].draft
