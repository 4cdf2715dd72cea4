"""Where there is no microphone, or no sound in a file, a command says so at once, and says what to do."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.cli import app
from antiphon.pipeline.transports.microphone import load_microphone


class NoPortAudio(MetaPathFinder):
    """Finds `sounddevice` as it is where its library is not."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(EngineUnavailable) as caught:
        load_microphone()
    assert "package sounddevice" in caught.value.message and 'pip install "antiphon[mic]"' in caught.value.hint


def test_without_the_library_the_systems_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(EngineUnavailable) as caught:
        load_microphone()
    assert "PortAudio" in caught.value.message
    assert "libportaudio2" in caught.value.hint and "pip install" not in caught.value.hint


def test_a_recording_that_cannot_be_read_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.modules["antiphon.pipeline.cli.run"], "Assembly", None)  # loading would break
    text = tmp_path / "talk.txt"
    text.write_text("hello there")
    result = CliRunner().invoke(app, ["run", "tiny.yaml", "--in", str(text), "--in", str(tmp_path / "none.wav")])
    assert result.exit_code == 1, result.output
    assert "talk.txt: this is no audio" in result.stderr.replace("\n", "")


def test_talking_without_a_microphone_is_refused_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    monkeypatch.setattr(sys.modules["antiphon.pipeline.cli.run"], "Assembly", None)  # loading would break
    result = CliRunner().invoke(app, ["run", "tiny.yaml"])
    assert result.exit_code == 3, result.output
    assert "antiphon serve" in result.stderr
