"""`antiphon transcribe`, on a scripted engine; once on the real one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from antiphon.engines.errors import EngineFailed, ModelMissing
from antiphon.engines.protocols import STTCapabilities, STTOptions, Transcript, Word
from antiphon.pipeline.cli.common import split_config
from antiphon.pipeline.cli.transcribe import transcribe

CLIPS = Path(os.environ.get("ANTIPHON_CLIPS", Path(__file__).parents[2].parent / "shared" / "audio"))


class LengthSTT:
    """Says how long the audio was; audio of 3 s breaks it."""

    rate_hz = 16_000
    capabilities = STTCapabilities(word_times=True)
    load_error: Exception | None = None

    def __init__(self) -> None:
        self.asked: list[STTOptions] = []
        self.left = False

    async def __aenter__(self) -> LengthSTT:
        if self.load_error:
            raise self.load_error
        return self

    async def __aexit__(self, *_: object) -> None:
        self.left = True

    async def transcribe(self, audio: Any, options: STTOptions) -> Transcript:
        self.asked.append(options)
        if round(audio.duration_s) == 3:
            raise EngineFailed("the engine broke", stage="stt")
        text = f"{audio.duration_s:.0f} seconds"
        words = (Word(text, 0.0, 1.0),) if options.word_times else None
        return Transcript(text, words=words, language=options.language)


@pytest.fixture
def stt(monkeypatch: pytest.MonkeyPatch) -> LengthSTT:
    engine = LengthSTT()
    # By module, not by path: the package has the function under the module's name.
    monkeypatch.setattr(sys.modules[transcribe.__module__], "make_engine", lambda *_: engine)
    return engine


@pytest.fixture
def wavs(tmp_path: Path) -> list[str]:
    paths = []
    for seconds in (1, 2, 3):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(8000 * seconds, np.int16), 8000)
        paths.append(str(path))
    return paths


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(transcribe)
    return CliRunner().invoke(app, list(arguments))


def test_one_recording_is_its_text(stt: LengthSTT, wavs: list[str]) -> None:
    result = run(wavs[0])
    assert (result.exit_code, result.stdout) == (0, "1 seconds\n")
    assert stt.asked == [STTOptions()]
    assert stt.left


def test_several_recordings_are_named(stt: LengthSTT, wavs: list[str]) -> None:
    result = run("tiny", *wavs[:2])
    assert result.stdout == f"{wavs[0]}: 1 seconds\n{wavs[1]}: 2 seconds\n"


def test_one_bad_recording_does_not_stop_the_others(stt: LengthSTT, wavs: list[str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    result = run(str(broken), wavs[2], "nowhere.wav", wavs[1])
    assert result.exit_code == 1
    assert result.stdout == f"{wavs[1]}: 2 seconds\n"
    assert "broken.wav: the WAV header is cut off or broken" in result.stderr
    assert "3.wav: the engine broke" in result.stderr
    assert "nowhere.wav: no such file" in result.stderr
    assert "3 of 4 recordings failed" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_lines_have_word_times(stt: LengthSTT, wavs: list[str]) -> None:
    result = run(*wavs[:2], "--format", "json", "--language", "de")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["file"], line["text"], line["language"]) for line in lines] == [
        (wavs[0], "1 seconds", "de"),
        (wavs[1], "2 seconds", "de"),
    ]
    assert lines[0]["words"] == [{"text": "1 seconds", "start_s": 0.0, "end_s": 1.0, "probability": None}]


def test_an_engine_without_word_times_is_not_asked_for_them(stt: LengthSTT, wavs: list[str]) -> None:
    stt.capabilities = STTCapabilities()
    assert "00:00:00,000 --> 00:00:01,000" in run(wavs[0], "--format", "srt").stdout
    assert not stt.asked[0].word_times


def test_out_is_a_file_for_one_and_a_folder_for_several(stt: LengthSTT, wavs: list[str], tmp_path: Path) -> None:
    assert run(wavs[0], "--out", str(tmp_path / "new" / "one.vtt"), "--format", "vtt").stdout == ""
    assert (tmp_path / "new" / "one.vtt").read_text().startswith("WEBVTT")
    run(wavs[0], wavs[1], wavs[0], "--out", str(tmp_path / "many"))
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["1-2.txt", "1.txt", "2.txt"]
    assert (tmp_path / "many" / "2.txt").read_text() == "2 seconds\n"


def test_a_truncated_recording_warns(stt: LengthSTT, wavs: list[str]) -> None:
    path = Path(wavs[1])
    path.write_bytes(path.read_bytes()[: 44 + 16_000])
    result = run(wavs[1])
    assert (result.exit_code, result.stdout) == (0, "1 seconds\n")
    assert "warning:" in result.stderr and "cut off" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument"),
        (["tiny"], "no recording was named"),
        (["a.wav", "b.wav", "--format", "srt"], "give a folder"),
        (["a.wav", "--format", "doc"], "'doc' is not one of"),
    ],
)
def test_wrong_usage(stt: LengthSTT, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_several_recordings_into_one_file_are_refused(stt: LengthSTT, wavs: list[str], tmp_path: Path) -> None:
    (tmp_path / "out.txt").touch()
    assert run(*wavs, "--out", str(tmp_path / "out.txt")).exit_code == 2


def test_a_wrong_configuration_is_explained(wavs: list[str], tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("sst: {engine: faster_whisper}\n")
    result = run(str(config), wavs[0])
    assert result.exit_code == 2
    assert "mine.yaml" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_model_names_the_command(stt: LengthSTT, wavs: list[str]) -> None:
    stt.load_error = ModelMissing("'m' is not in the store", hint="antiphon models pull m")
    result = run(wavs[0])
    assert result.exit_code == 3
    assert "antiphon models pull m" in result.stderr


def test_the_configuration_is_told_from_the_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert split_config(["my.yaml", "a.wav"]) == ("my.yaml", ["a.wav"])
    assert split_config(["tiny", "a.wav"]) == ("tiny", ["a.wav"])
    assert split_config(["a.wav", "b.yaml.wav"]) == (None, ["a.wav", "b.yaml.wav"])
    assert split_config([]) == (None, [])
    Path("tiny").touch()
    assert split_config(["tiny", "a.wav"]) == (None, ["tiny", "a.wav"])


@pytest.mark.real
@pytest.mark.clips
@pytest.mark.skipif(not CLIPS.exists(), reason="needs the human clip set")
def test_the_real_engine() -> None:
    result = run("tiny", str(CLIPS / "google_docs_samples__brooklyn_bridge.wav"), "--set", "stt.threads=1")
    assert result.exit_code == 0, result.stderr
    assert "how old is the brooklyn bridge" in result.stdout.lower()
