"""The vendor's browser example in headless Chromium over WebRTC: only the URL is changed; the key is one of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from interop_clients import INTEROP, PAGE, package_version, run_client
from interop_desk import QUESTIONS, write_recording

pytestmark = pytest.mark.interop
SDK = "@openai/agents-realtime"
LEAD_S = 3.0
"""The browser's microphone begins when it is opened, and the call somewhat later."""


def ephemeral_key(server: str) -> str:
    request = urllib.request.Request(
        f"http://{server}/v1/realtime/client_secrets",
        data=json.dumps({"session": {"type": "realtime", "model": "gpt-realtime-2"}}).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer any"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        value: str = json.load(response)["value"]
    assert value.startswith("ek_")
    return value


class Browser:
    """Runs the page of `interop/browser`."""

    def __init__(self, node: str, chromium: str, folder: Path, row: Any) -> None:
        self._node, self._chromium, self._folder, self._row = node, chromium, folder, row

    def talk(self, server: str, scenario: str, *speech: str | float) -> dict[str, Any]:
        """A call in which the microphone hears `speech`: questions of the desk, and pauses in seconds."""
        return self.call(server, scenario, write_recording(self._folder / "microphone.wav", LEAD_S, *speech, 2.0))

    def call(self, server: str, scenario: str, microphone: Path, what: str = "") -> dict[str, Any]:
        told = self._run(f"http://{server}/v1/realtime/calls", "WebRTC", server, scenario, str(microphone), what)
        assert told["callId"], "the Location header says which call it is, and pages of other origins may read it"
        return told

    def over_websocket(self, server: str) -> dict[str, Any]:
        microphone = write_recording(self._folder / "microphone.wav", 1.0)
        return self._run(f"ws://{server}/v1/realtime", "WebSocket", server, "websocket", str(microphone), "tool")

    def _run(self, url: str, transport: str, server: str, scenario: str, microphone: str, what: str) -> dict[str, Any]:
        program, key = str(INTEROP / "browser" / "run.mjs"), ephemeral_key(server)
        told = run_client(self._node, program, self._chromium, PAGE, url, key, scenario, microphone)
        chromium = told["version"].partition(".")[0]
        self._row(f"{SDK} in Chromium {chromium}, {transport}", package_version(SDK), what or scenario)
        assert told["errors"] == [] and not [line for line in told["console"] if line.startswith(("error", "thrown"))]
        return told


@pytest.fixture
def browser(node: str, chromium: str, tmp_path: Path, row: Any) -> Browser:
    return Browser(node, chromium, tmp_path, row)


def test_spoken_turn_in_chromium(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "spoken", "time", 3.0)
    assert told["said"] == ["Arr, it is noon."] and told["user"] == [QUESTIONS[300]]
    assert told["heard"]["energy"] > 0.001, "something could be heard"
    assert "server:response.output_audio.delta" not in told["kinds"], "sound goes over the track alone"
    assert "server:output_audio_buffer.started" in told["kinds"]


def test_tool_in_chromium(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "tool", "weather", 3.0)
    assert told["cities"] == ["Oslo"] and told["said"][-1] == "I looked: Sunny."


def test_handoff_in_chromium(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "handoff", "refund", 3.0)
    assert told["handoffs"] == [{"from": "Desk", "to": "Refunds"}]


def test_interruption_in_chromium(browser: Browser, desk_server: str) -> None:
    told = browser.talk(desk_server, "interruption", "story", 2.5, "time", 3.0)
    assert told["statuses"] == ["cancelled", "completed"] and told["said"][-1] == "Arr, it is noon."
    assert told["user"] == [QUESTIONS[600], QUESTIONS[300]]


def test_the_pages_own_interrupt_in_chromium(browser: Browser, desk_server: str) -> None:
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
    told = browser.call(real_server, "spoken", microphone, "spoken turn on real models")
    assert "capital of france" in told["user"][0].lower()
    assert told["said"][0] and told["heard"]["energy"] > 0.001


def _pad(recording: Path, target: Path) -> None:
    """With silence before and after, as microphones hear it."""
    import numpy as np
    import soundfile

    samples, rate_hz = soundfile.read(recording, dtype="int16")
    before, after = np.zeros(round(LEAD_S * rate_hz), np.int16), np.zeros(3 * rate_hz, np.int16)
    soundfile.write(target, np.concatenate([before, samples, after]), rate_hz)
