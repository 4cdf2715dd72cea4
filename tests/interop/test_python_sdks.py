"""LiveKit Agents and Pipecat, each in its own environment, with our server in OpenAI's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interop_clients import INTEROP, run_client, sdk_python
from interop_desk import QUESTIONS, STORY

pytestmark = pytest.mark.interop
Run = Callable[[str], dict[str, Any]]


def runner(name: str, client: str, url: str, sounds: Path, row: Any) -> Run:
    def run(scenario: str) -> dict[str, Any]:
        python, program = sdk_python(name), str(INTEROP / "python" / f"{name}_client.py")
        told = run_client(python, program, url, "any", scenario, str(sounds))
        row(client, told["versions"][client], scenario)
        assert told["errors"] == []
        return told

    return run


@pytest.fixture
def livekit(desk_server: str, sounds: Path, row: Any) -> Run:
    return runner("livekit", "livekit-plugins-openai", f"http://{desk_server}/v1", sounds, row)


@pytest.fixture
def pipecat(desk_server: str, sounds: Path, row: Any) -> Run:
    return runner("pipecat", "pipecat-ai", f"ws://{desk_server}/v1/realtime", sounds, row)


def test_spoken_turn_with_livekit(livekit: Run) -> None:
    told = livekit("spoken")
    assert told["user"] == [QUESTIONS[300]] and told["assistant"] == ["Arr, it is noon."]
    assert told["heard_s"] == pytest.approx(len("Arr, it is noon.") * 0.06, rel=0.2)


def test_tool_with_livekit(livekit: Run) -> None:
    told = livekit("tool")
    assert told["cities"] == ["Oslo"] and told["assistant"][-1] == "I looked: Sunny."


def test_handoff_with_livekit(livekit: Run) -> None:
    told = livekit("handoff")
    assert told["agent"] == "Refunds"


def test_interruption_with_livekit(livekit: Run) -> None:
    told = livekit("interruption")
    assert told["interrupted"] == [True, False]
    assert STORY.startswith(told["assistant"][0][:20]) and told["assistant"][1] == "Arr, it is noon."
    assert told["user"] == [QUESTIONS[600], QUESTIONS[300]]


def test_spoken_turn_with_pipecat(pipecat: Run) -> None:
    told = pipecat("spoken")
    assert told["user"] == [QUESTIONS[300]] and told["assistant"] == ["Arr, it is noon."]
    assert told["audio_s"] == pytest.approx(len("Arr, it is noon.") * 0.06, rel=0.1)


def test_tool_with_pipecat(pipecat: Run) -> None:
    told = pipecat("tool")
    assert told["cities"] == ["Oslo"]
    assert "Sunny." in told["assistant"][-1]


def test_interruption_with_pipecat(pipecat: Run) -> None:
    told = pipecat("interruption")
    assert told["assistant"][-1] == "Arr, it is noon."
    assert told["heard_s"] < len(STORY) * 0.06 / 2, "most of the story was never heard"
