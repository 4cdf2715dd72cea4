"""The vendor's browser example in headless browsers over WebRTC: only the URL is changed; the key is one of ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from browser_calls import LEAD_S, Browser
from interop_desk import QUESTIONS

pytestmark = pytest.mark.interop


def test_spoken_turn(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "spoken", "time", 3.0)
    assert told["said"] == ["Arr, it is noon."] and told["user"] == [QUESTIONS[300]]
    assert told["heard"]["energy"] > 0.001, ("something could be heard", told["heard"])
    assert told["loudest"] is None or told["loudest"] > 0.05, "and was"
    assert "server:response.output_audio.delta" not in told["kinds"], "sound goes over the track alone"
    assert "server:output_audio_buffer.started" in told["kinds"]


def test_tool(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "tool", "weather", 3.0)
    assert told["cities"] == ["Oslo"] and told["said"][-1] == "I looked: Sunny."


def test_handoff(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "handoff", "refund", 3.0)
    assert told["handoffs"] == [{"from": "Desk", "to": "Refunds"}]


def test_interruption(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "interruption", "story", 2.5, "time", 3.0)
    assert told["statuses"] == ["cancelled", "completed"] and told["said"][-1] == "Arr, it is noon."
    assert told["user"] == [QUESTIONS[600], QUESTIONS[300]]


def test_the_pages_own_interrupt(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "interrupt", "story", 3.0)
    assert told["kinds"].count("server:output_audio_buffer.cleared") == 1


def test_the_other_way_from_a_browser(browser: Browser, desk_server: str) -> None:
    told = browser.over_websocket(desk_server)
    assert told["cities"] == ["Oslo"] and told["audioBytes"] > 24000


def test_spoken_turn_on_real_models(browser: Browser, real_server: str, tmp_path: Path) -> None:
    """Speech synthesized here, through a browser's microphone, Opus, Whisper, a language model and Piper, and back."""
    question, microphone = tmp_path / "question.wav", tmp_path / "microphone.wav"
    say = [
        sys.executable,
        "-m",
        "antiphon",
        "say",
        "tiny.yaml",
        "What is the capital of France?",
        "--out",
        str(question),
    ]
    subprocess.run(say, check=True, capture_output=True)
    _pad(question, microphone)
    told = browser.call(real_server, "spoken", microphone, what="spoken turn on real models")
    assert "capital of france" in told["user"][0].lower()
    assert told["said"][0] and told["heard"]["energy"] > 0.001


def _pad(recording: Path, target: Path) -> None:
    """With silence before and after, as microphones hear it."""
    import numpy as np
    import soundfile

    samples, rate_hz = soundfile.read(recording, dtype="int16")
    before, after = np.zeros(round(LEAD_S * rate_hz), np.int16), np.zeros(3 * rate_hz, np.int16)
    soundfile.write(target, np.concatenate([before, samples, after]), rate_hz)
