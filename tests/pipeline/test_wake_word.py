"""The wake word as a gate: what the session hears, and when it needs the phrase again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spoken import spoken

from antiphon.engines.audio import AudioFrame, Samples, resample
from antiphon.engines.errors import EngineUnavailable, ModelMissing
from antiphon.engines.testing import run_virtual
from antiphon.pipeline.config.wake import WakeWordKeys
from antiphon.pipeline.events import Committed, SpeechStarted, SpeechStopped, TurnEnded
from antiphon.pipeline.frontend.wake_word import WakeWord
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.transports.wake import WakeGated, wake_gated

RATE_HZ = 16000
TIMES: dict[str, Any] = {"t_s": 0.0, "audio_s": 0.0, "session": "s", "turn": 1}


class Said:
    """Detects what stands in the samples: 0.5 is the phrase."""

    def __init__(self) -> None:
        self.resets = self.closed = 0

    def push(self, frame: AudioFrame) -> bool:
        return bool((frame.samples == 0.5).any())

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None:
        self.closed += 1


def input_with(phrases_s: list[float], seconds: float) -> AudioFrame:
    samples = np.full(round(seconds * RATE_HZ), 0.1, dtype=np.float32)
    for at_s in phrases_s:
        samples[round(at_s * RATE_HZ)] = 0.5
    return AudioFrame(samples, RATE_HZ)


def heard_s(heard: Samples) -> list[tuple[float, float]]:
    """The stretches that came through, in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], heard != 0, [0]]).astype(int))) / RATE_HZ
    return [(round(float(a), 2), round(float(b), 2)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def run(phrases_s: list[float], seconds: float, script: dict[float, Any] | None = None) -> tuple[Samples, Said]:
    """:param script: what happens when: called with the transport."""
    word = Said()

    async def listen() -> Samples:
        inner = RecordingTransport(recording_frames(input_with(phrases_s, seconds), paced=True))
        transport = WakeGated(inner, word, listen_s=2.0)
        for at_s, action in (script or {}).items():
            asyncio.get_running_loop().call_later(at_s + 0.001, action, transport)
        return np.concatenate([frame.samples async for frame in transport.frames()])

    return run_virtual(listen()), word


def test_nothing_is_heard_without_the_phrase() -> None:
    heard, word = run([], 3.0)
    assert len(heard) == 3 * RATE_HZ
    assert not heard.any()
    assert word.closed == 1


def test_after_the_phrase_it_listens_for_a_while() -> None:
    heard, word = run([1.01, 6.01], 9.5)
    assert heard_s(heard) == [(1.02, 3.0), (6.02, 8.0)]
    assert word.resets == 2, "what was heard before it fell asleep is not half a phrase"


def test_speech_keeps_it_awake() -> None:
    script = {
        2.0: lambda transport: transport.on_event(SpeechStarted(**TIMES, at_s=2.0)),
        5.0: lambda transport: transport.on_event(SpeechStopped(**TIMES, at_s=5.0)),
    }
    heard, _ = run([1.01], 9.0, script)
    assert heard_s(heard) == [(1.02, pytest.approx(7.0, abs=0.03))]


def test_an_answer_that_is_being_made_and_heard_keeps_it_awake() -> None:
    def committed(transport: WakeGated) -> None:
        transport.on_event(Committed(**TIMES, reason="silence"))

    def answered(transport: WakeGated) -> None:
        play = transport.play(AudioFrame(np.zeros(3 * RATE_HZ, dtype=np.float32), RATE_HZ), 1)
        tasks.append(asyncio.get_running_loop().create_task(play))

    def ended(transport: WakeGated) -> None:
        transport.on_event(TurnEnded(**TIMES, status="completed"))

    tasks: list[asyncio.Task[float]] = []
    heard, _ = run([1.01], 16.0, {2.0: committed, 6.0: answered, 6.5: ended})
    assert heard_s(heard) == [(1.02, pytest.approx(6.0 + 3.0 + 2.0, abs=0.03))]


def test_it_can_be_woken_by_hand() -> None:
    heard, _ = run([], 4.0, {1.0: lambda transport: transport.wake()})
    assert heard_s(heard) == [(1.0, pytest.approx(3.0, abs=0.03))]


def test_no_word_no_gate() -> None:
    inner = RecordingTransport(recording_frames(input_with([], 1.0), paced=True))
    assert wake_gated(inner, WakeWordKeys()) is inner


def test_a_missing_package_and_a_missing_model_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"no wake word model 'computer'[\s\S]*hey_jarvis"):
        WakeWord("computer")
    odd = tmp_path / "odd.json"
    odd.write_text("{}")
    with pytest.raises(ModelMissing, match="is no microWakeWord model"):
        WakeWord(str(odd))
    monkeypatch.setitem(sys.modules, "pymicro_wakeword", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "antiphon\[wake\]"'):
        WakeWord("hey_jarvis")


@pytest.mark.real
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_the_phrase_is_found_in_speech_and_only_there(rate_hz: int) -> None:
    called, other = asyncio.run(
        spoken(["Hey Jarvis, what time is it?", "Hey, the jar of this is on the shelf. What time is it? Hello there."])
    )
    word = WakeWord("hey_jarvis")
    assert word.phrase == "Hey Jarvis"

    def found_s(speech: Samples) -> list[float]:
        padded = np.concatenate([np.zeros(RATE_HZ, np.float32), speech, np.zeros(RATE_HZ, np.float32)])
        near = resample(padded, RATE_HZ, rate_hz)
        word.reset()
        size = rate_hz // 50
        return [
            at / rate_hz
            for at in range(0, len(near), size)
            if word.push(AudioFrame(near[at : at + size], rate_hz, at / rate_hz))
        ]

    assert found_s(other) == []
    assert 1.4 < found_s(called)[0] < 2.2
    assert 1.4 < found_s(called)[0] < 2.2, "again, after a reset"
    word.close()
