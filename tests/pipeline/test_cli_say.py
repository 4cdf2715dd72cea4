"""`antiphon say`: to a file, to a pipe, to the speaker, and what it says when it cannot."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import typer
from tiny_piper import RATE_HZ, save_voice
from typer.testing import CliRunner, Result

from antiphon.pipeline.cli.say import say


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A configuration whose voice is a generated one."""
    voice = save_voice(tmp_path / "voices")
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"extends: local.yaml\nmodels:\n  store: {tmp_path / 'store'}\ntts:\n  engine: piper\n  voice: {voice}\n"
    )
    return str(path)


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    app.command()(say)
    return CliRunner().invoke(app, list(arguments), input=stdin)


def test_a_wav_file(config: str, tmp_path: Path) -> None:
    out = tmp_path / "folder" / "hello.wav"
    result = invoke(config, "Hello there.", "How are you?", "--out", str(out))
    assert result.exit_code == 0, result.output
    facts = soundfile.info(str(out))
    assert (facts.samplerate, facts.channels, facts.subtype, facts.format) == (RATE_HZ, 1, "PCM_16", "WAV")
    samples, _ = soundfile.read(str(out))
    assert np.abs(samples).max() > 0.05
    assert [path.name for path in out.parent.iterdir()] == ["hello.wav"]
    assert f"{facts.duration:.1f} s" in result.stdout


def test_json(config: str, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    result = invoke(config, "Hello there.", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    voice = report.pop("voice")
    assert voice.startswith(str(tmp_path / "voices"))
    assert report == {"path": str(out), "seconds": round(soundfile.info(str(out)).duration, 3), "rate": RATE_HZ}
    asked = invoke(config, "Hello.", "--out", str(out), "--json", "--voice", Path(voice).stem)
    assert json.loads(asked.stdout)["voice"] == Path(voice).stem
    both = invoke(config, "Hello.", "--out", "-", "--json")
    assert (both.exit_code, both.stdout_bytes) == (2, b"")


def test_raw_samples_on_stdout(config: str, tmp_path: Path) -> None:
    out = tmp_path / "a.wav"
    invoke(config, "Hello.", "--out", str(out))
    result = invoke(config, "Hello.", "--out", "-")
    assert result.exit_code == 0
    piped = np.frombuffer(result.stdout_bytes, dtype="<i2")
    assert np.array_equal(piped, soundfile.read(str(out), dtype="int16")[0])
    assert f"{RATE_HZ} Hz" in result.stderr


def test_text_from_stdin_and_options(config: str, tmp_path: Path) -> None:
    slow, fast = tmp_path / "slow.wav", tmp_path / "fast.wav"
    assert invoke(config, "-", "--out", str(slow), "--speed", "0.5", stdin="Hello there.").exit_code == 0
    assert invoke(config, "Hello there.", "--out", str(fast), "--set", "tts.speed=2").exit_code == 0
    assert soundfile.info(str(slow)).duration > 2 * soundfile.info(str(fast)).duration


def test_nothing_to_say(config: str, tmp_path: Path) -> None:
    out = tmp_path / "none.wav"
    result = invoke(config, "?!", "--out", str(out))
    assert result.exit_code == 1
    assert "nothing that can be spoken" in result.stderr
    assert not out.exists()


def test_what_the_voice_cannot_do(config: str, tmp_path: Path) -> None:
    out = tmp_path / "none.wav"
    result = invoke(config, "Hello.", "--voice", "nobody", "--out", str(out))
    assert result.exit_code == 1
    assert "no voice 'nobody'" in result.stderr and "Traceback" not in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "problem", "code"),
    [
        (["--set", "tts.voice=no-such-voice", "--out", "x.wav"], "no-such-voice", 2),
        (["--set", "tts.voice=/no/such-voice", "--out", "x.wav"], "/no/such-voice", 3),
        (["--set", "tts.vioce=x", "--out", "x.wav"], "vioce", 2),
        (["--out", "FOLDER"], "is a folder", 1),
    ],
)
def test_what_cannot_start(config: str, tmp_path: Path, arguments: list[str], problem: str, code: int) -> None:
    filled = [str(tmp_path) if one == "FOLDER" else one for one in arguments]
    result = invoke(config, "Hello.", *filled)
    assert result.exit_code == code
    assert problem in result.stderr and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "source", "text"),
    [
        (["hello"], None, "hello"),
        (["my.yaml", "hello", "you"], "my.yaml", "hello you"),
        (["tiny", "hello"], "tiny", "hello"),
        (["tiny"], None, "tiny"),
        (["hello", "my.yaml"], None, "hello my.yaml"),
    ],
)
def test_the_configuration_is_told_from_the_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], source: str | None, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[Any] = []

    async def spoken(config: Any, text: str, *_: Any) -> float:
        seen.append(text)
        return 1.0

    module = sys.modules[say.__module__]  # not by path: the package has the function under the module's name
    monkeypatch.setattr(module, "load_config", lambda source, **_: seen.append(source))
    monkeypatch.setattr(module, "_run", spoken)
    assert invoke(*arguments, "--out", "a.wav").exit_code == 0
    assert seen == [source, text]


class FakeSpeaker:
    """What sounddevice has, and a record of what was played."""

    played: list[Any]

    class PortAudioError(Exception):
        pass

    def __init__(self, broken: bool = False) -> None:
        self.played = []
        self.broken = broken

    def module(self) -> ModuleType:
        outer = self

        class OutputStream:
            def __init__(self, rate_hz: int, channels: int, dtype: str) -> None:
                if outer.broken:
                    raise outer.PortAudioError("no device")
                assert (rate_hz, channels, dtype) == (RATE_HZ, 1, "float32")

            def __enter__(self) -> OutputStream:
                return self

            def __exit__(self, *_: object) -> None:
                outer.played.append("closed")

            def write(self, samples: Any) -> None:
                assert samples.ndim == 2 and samples.shape[1] == 1
                outer.played.append(len(samples))

            def stop(self) -> None:
                outer.played.append("stopped")

        module = ModuleType("sounddevice")
        module.OutputStream = OutputStream  # type: ignore[attr-defined]
        module.PortAudioError = self.PortAudioError  # type: ignore[attr-defined]
        return module


@pytest.fixture
def no_speaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    yield


def test_the_speaker_plays(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = FakeSpeaker()
    monkeypatch.setitem(sys.modules, "sounddevice", speaker.module())
    result = invoke(config, "Hello there.")
    assert result.exit_code == 0, result.output
    assert speaker.played[-2:] == ["stopped", "closed"]
    assert sum(speaker.played[:-2]) > 0.1 * RATE_HZ


def test_no_speaker(config: str, no_speaker: None) -> None:
    result = invoke(config, "Hello there.")
    assert result.exit_code == 3
    assert 'pip install "antiphon[mic]"' in result.stderr


def test_no_device(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSpeaker(broken=True).module())
    result = invoke(config, "Hello there.")
    assert result.exit_code == 1
    assert "no usable speaker" in result.stderr
