"""`antiphon run tiny.yaml` on the small real models: the main job, and recordings of every odd kind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typer.testing import CliRunner

from antiphon.engines.audio import resample
from antiphon.pipeline.cli import app
from antiphon.pipeline.events import EVENT_TYPES
from antiphon.pipeline.waterfall import waterfall

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

QUESTION = "What is the capital of France?"
SHORT = ("--set", "llm.max_tokens=12")
"""What the small model says does not matter here, so it need not say much."""

Samples = NDArray[np.float32]


def antiphon(*arguments: str | Path) -> str:
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert "Traceback" not in result.output
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own voice asks it."""
    path = tmp_path_factory.mktemp("question") / "question.wav"
    antiphon("say", "tiny.yaml", QUESTION, "--out", path)
    return path


@pytest.fixture(scope="module")
def spoken(question: Path) -> tuple[Samples, int]:
    samples, rate_hz = soundfile.read(str(question), dtype="float32")
    return samples, rate_hz


def heard(turn: dict[str, Any]) -> str:
    return "".join(character for character in turn["user"].lower() if character.isalnum() or character == " ")


# ------------------------------------------------------------------------------------------------ in real time


@dataclasses.dataclass
class Run:
    report: dict[str, Any]
    events: list[dict[str, Any]]
    stereo: Samples
    rate_hz: int


@pytest.fixture(scope="module")
def live(question: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run in real time: both sides on a time line, events, JSON."""
    folder = tmp_path_factory.mktemp("live")
    out, events = folder / "both.wav", folder / "events.jsonl"
    printed = antiphon(
        "run", "tiny.yaml", "--in", question, "--out", out, "--mix", "--events", events, "--json", *SHORT
    )
    stereo, rate_hz = soundfile.read(str(out), dtype="float32")
    lines = events.read_text("utf-8").splitlines()
    return Run(json.loads(printed), [json.loads(line) for line in lines], stereo, rate_hz)


def test_the_question_is_heard_and_answered(live: Run) -> None:
    (answered,) = live.report["inputs"]
    (turn,) = answered["turns"]
    assert turn["status"] == "completed" and turn["assistant"]
    assert heard(turn) == "what is the capital of france"
    assert live.report["ready_s"] > 0


def test_events_are_of_the_vocabulary_and_in_order(live: Run) -> None:
    fields = {kind.type: {"type", *(field.name for field in dataclasses.fields(kind))} for kind in EVENT_TYPES}
    for event in live.events:
        assert set(event) == fields[event["type"]]
    assert len({event["session"] for event in live.events}) == 1
    kinds = [event["type"] for event in live.events if not (event["type"] == "transcript" and not event["final"])]
    story = ["speech_started", "speech_stopped", "committed", "transcript", "text_delta", "audio_started", "turn_ended"]
    places = [kinds.index(kind) for kind in story]
    assert places == sorted(places), kinds
    said = "".join(event["text"] for event in live.events if event["type"] == "text_delta")
    spoken = "".join(event["text"] for event in live.events if event["type"] == "spoken")
    assert spoken.strip() == said.strip(), "all that was answered has been spoken"


def test_the_parts_of_the_waterfall_sum_to_the_whole(live: Run) -> None:
    (ended,) = [event for event in live.events if event["type"] == "turn_ended"]
    steps = waterfall(ended["timings"])
    assert [step.name for step in steps][-1] == "audible" and len(steps) == 7
    whole_ms = 1000 * (ended["timings"]["audible_s"] - ended["timings"]["speech_end_s"])
    assert sum(step.part_ms for step in steps) == pytest.approx(whole_ms, abs=0.01)
    shown = live.report["inputs"][0]["turns"][0]["waterfall_ms"]
    assert sum(step["part"] for step in shown.values()) == pytest.approx(whole_ms, abs=1.0)


def test_both_sides_stand_on_one_time_line(live: Run, spoken: tuple[Samples, int]) -> None:
    user, assistant = live.stereo[:, 0], live.stereo[:, 1]
    asked_s = len(spoken[0]) / spoken[1]
    loud_s = np.flatnonzero(np.abs(user) > 0.02) / live.rate_hz
    assert loud_s[0] < 0.5 and loud_s[-1] < asked_s
    answered_s = np.flatnonzero(np.abs(assistant) > 0.01) / live.rate_hz
    assert answered_s[0] > loud_s[-1], "the answer comes after the question"
    (started,) = [event for event in live.events if event["type"] == "audio_started"]
    (stopped, *_) = [event for event in live.events if event["type"] == "speech_stopped"]
    since_stop_s = started["t_s"] - stopped["t_s"]
    on_the_line_s = answered_s[0] - stopped["audio_s"]
    assert on_the_line_s == pytest.approx(since_stop_s, abs=0.15), "the file tells the time that passed"


# ----------------------------------------------------------------------------------- recordings of every odd kind


@pytest.fixture(scope="module")
def odd(spoken: tuple[Samples, int], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One fast run over a folder of them: name to what was reported; the exit code is 1, for some cannot be read."""
    folder = tmp_path_factory.mktemp("odd")
    samples, rate_hz = spoken
    at = {hz: resample(samples, rate_hz, hz) for hz in (8000, 16000, 44100, 48000)}
    soundfile.write(folder / "plain.wav", samples, rate_hz)
    soundfile.write(folder / "phone_8k.wav", at[8000], 8000)
    soundfile.write(folder / "studio_48k_stereo.wav", np.stack([at[48000], at[48000]], axis=1), 48000)
    soundfile.write(folder / "float32.wav", at[16000], 16000, subtype="FLOAT")
    soundfile.write(folder / "bits_24.flac", at[44100], 44100, subtype="PCM_24")
    soundfile.write(folder / "clipped.wav", np.clip(8 * samples, -1, 1), rate_hz)
    whole = (folder / "plain.wav").read_bytes()
    (folder / "truncated.wav").write_bytes(whole[: 44 + (len(whole) - 44) * 9 // 10])
    pause = np.zeros(2 * rate_hz, np.float32)
    soundfile.write(folder / "two_turns.wav", np.concatenate([samples, pause, samples]), rate_hz)
    soundfile.write(folder / "silent.wav", np.zeros(5 * 16000, np.float32), 16000)
    soundfile.write(folder / "ten_minutes.wav", np.zeros(600 * 8000, np.float32), 8000)
    soundfile.write(folder / "no_samples.wav", np.zeros(0, np.float32), 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is no recording.\n" * 100)
    (folder / "header_only.wav").write_bytes(whole[:20])
    words = ["run", "tiny.yaml", "--in", str(folder), "--out", str(folder / "answers"), "--fast", "--json", *SHORT]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1, result.output
    return {Path(one["input"]).stem: one for one in json.loads(result.stdout)["inputs"]}


@pytest.mark.parametrize("name", ["plain", "phone_8k", "studio_48k_stereo", "float32", "bits_24", "clipped"])
def test_every_rate_and_format_is_heard(odd: dict[str, dict[str, Any]], name: str) -> None:
    (turn,) = odd[name]["turns"]
    assert heard(turn) == "what is the capital of france"
    answer, rate_hz = soundfile.read(odd[name]["out"])
    assert rate_hz == 24000 and np.abs(answer).max() > 0.05


def test_a_truncated_recording_is_used_as_far_as_it_goes(odd: dict[str, dict[str, Any]]) -> None:
    (turn,) = odd["truncated"]["turns"]
    assert heard(turn).startswith("what is the capital")


def test_a_recording_may_hold_several_turns(odd: dict[str, dict[str, Any]]) -> None:
    turns = odd["two_turns"]["turns"]
    assert [heard(turn) for turn in turns] == ["what is the capital of france"] * 2
    assert [turn["status"] for turn in turns] == ["completed"] * 2


@pytest.mark.parametrize("name", ["silent", "ten_minutes"])
def test_silence_is_no_turn(odd: dict[str, dict[str, Any]], name: str) -> None:
    assert odd[name]["turns"] == [] and "error" not in odd[name]
    assert len(soundfile.read(odd[name]["out"])[0]) == 0


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_samples", "holds no samples"),
        ("empty", "the file is empty"),
        ("text", "no audio that can be read"),
        ("header_only", "header is cut off or broken"),
    ],
)
def test_what_is_no_recording_is_named(odd: dict[str, dict[str, Any]], name: str, problem: str) -> None:
    assert problem in odd[name]["error"] and odd[name]["turns"] == []
