"""The console in Chromium and Firefox, over WebRTC, with a recording as its microphone.

What it looks like is in docs/console.md. With ANTIPHON_CONSOLE_PICTURES its pictures in Chromium go to that folder:
`docs/images`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from console_desk import write_config, write_recording
from interop_clients import INTEROP, run_client
from interop_desk import STORY
from served_process import served_process

from antiphon.pipeline.waterfall import waterfall

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]
PROGRAM = str(INTEROP / "console" / "run.mjs")
Use = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("ANTIPHON_CONSOLE_PICTURES")
    folder = Path(given) if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@pytest.fixture(scope="module")
def console_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_process(write_config(tmp_path_factory.mktemp("desk"))) as server:
        yield server.address


@pytest.fixture
def use(node: str, installed: Any, pictures: Path, tmp_path: Path, row: Any) -> Use:
    """Runs a scenario on the console of a server; whatever no page may do fails the test."""

    def run(address: str, scenario: str, what: str, *sounds: str | float, microphone: Path | None = None) -> Any:
        if microphone is None:
            microphone = write_recording(tmp_path / "microphone.wav", *(sounds or (30.0,)))
        browser = (installed.kind, installed.path)
        shown = pictures if installed.kind == "chromium" else tmp_path  # the docs have one browser's pictures
        found = run_client(node, PROGRAM, *browser, address, scenario, str(microphone), str(shown), timeout_s=240)
        row(f"our console in {installed.kind.capitalize()}", found["version"], what)
        assert not found["complaints"], "\n".join(found["complaints"])
        return found

    return run


def test_spoken_turns_a_tool_an_interruption_and_an_approval(console_desk: str, use: Use) -> None:
    sounds = (3.0, "time", 4.0, "weather", 5.0, "story", 2.5, "time", 5.0, "account", 60.0)
    found = use(console_desk, "conversation", "spoken turn, tool, interruption, approval", *sounds)
    time, weather, story, again, account = found["turns"]
    assert (time["user"], time["heard"], time["unheard"]) == ("What time is it?", "It is noon.", None)
    assert "Oslo" in weather["calls"][0] and "clear" in weather["calls"][0]
    assert story["heard"] and story["unheard"] and STORY.startswith(story["heard"] + story["unheard"])
    assert "cut in" in story["cut"]
    assert (again["user"], again["heard"]) == ("What time is it?", "It is noon.")
    assert "Granted by console" in account["approvals"][0] and "The account is gone." in account["calls"][0]
    names = [name for name, *_ in found["waterfall"]]
    assert names[:7] == [
        "silence heard", "turn over", "transcript", "first word", "first clause", "first audio", "audible",
    ]  # fmt: skip
    shown = [value for _, value in found["waterfall"][:8]]
    assert shown == _recorded(console_desk), "what is shown is what the record has"
    assert found["live"] >= 3, "the waterfall is drawn while the answer is under way"
    assert "You: What time is it?" in found["captions"] and "Antiphon: It is noon." in found["captions"]
    assert any("Delete the caller's account" in text for text in found["alerts"])
    assert min(found["meters"]) > 50, "both meters move"


def _recorded(address: str) -> list[str]:
    """The waterfall of the first turn of the newest conversation about lighthouses, from its record, as it is shown."""
    found = httpx2.get(f"http://{address}/v1/transcripts", params={"words": "lighthouse"}).raise_for_status().json()
    session = found["sessions"][0]["id"]
    turn = httpx2.get(f"http://{address}/v1/transcripts/{session}").raise_for_status().json()["turns_shown"][0]
    parts = [step.part_ms for step in waterfall(turn["timings"])]
    shown = [f"+{math.floor(part + 0.5)} ms" if part > 0 else "meanwhile" for part in parts]
    return [*shown, f"{math.floor(turn['response_ms'] + 0.5)} ms"]


def test_afterwards_it_is_found_read_and_heard_again(console_desk: str, use: Use) -> None:
    found = use(console_desk, "afterwards", "search, playback, decisions, state")
    assert any("sky" in hit for hit in found["hits"]) and {"sky"} <= {mark.lower() for mark in found["marks"]}
    assert "What is the weather in Oslo?" in found["playing"] and found["seconds"] > 15
    assert found["file"].startswith("sess_") and found["file"].endswith(".md")
    assert found["engines"] == [
        "Voice activity", "End of turn", "Speech to text", "Language model", "Text to speech",
    ]  # fmt: skip
    assert "turns" in found["figures"]


def test_by_the_keyboard_alone(console_desk: str, use: Use) -> None:
    found = use(console_desk, "keyboard", "by the keyboard alone")
    assert found["stops"][0]["name"] == "Skip to the content"
    assert all(stop["seen"] for stop in found["stops"]), found["stops"]
    assert found["stops"][-1]["name"] == "Type instead"
    story, time = found["turns"]
    assert story["user"] == "Tell me a long story." and story["heard"] and story["unheard"]
    assert time["heard"] == "It is noon."
    assert found["titles"] == [f"{name} · Antiphon" for name in ("Conversations", "Approvals", "Server", "Talk")]


def test_push_to_talk(console_desk: str, use: Use) -> None:
    found = use(console_desk, "push", "push to talk", 1.0, *["time", 0.4] * 40)
    assert found["before"] == 0, "nothing is heard while the key is not held"
    assert found["turns"][0]["user"] == "What time is it?" and found["turns"][0]["heard"] == "It is noon."


def test_on_a_phone_in_light_and_dark(console_desk: str, use: Use, installed: Any) -> None:
    what = "360 px, light and dark" if installed.kind == "chromium" else "360 px"  # dark is not emulated in Firefox
    assert use(console_desk, "phone", what)["small"] == [], "too small for a finger"


def test_no_microphone_no_room_no_server(tmp_path: Path, use: Use) -> None:
    with served_process(write_config(tmp_path, max_sessions=1)) as server:
        found = use(server.address, "states", "no microphone, full, out of reach")
    assert "Allow it in the address bar" in found["denied"]
    assert found["typed"] == "Type below what you want to say."
    assert found["full"] == "All lines are taken" and "Try again in" in found["wait"]
    assert "The microphone is gone" in found["gone"]
    assert found["away"] == "The server cannot be reached"


def test_no_microphone_stays_on_that_is_not_heard(console_desk: str, use: Use) -> None:
    found = use(console_desk, "microphones", "microphone asked for twice, and too late")
    on = {key: found[key] for key in ("twice", "ended", "microphone", "connection", "failed", "again")}
    assert on == {"twice": 1, "ended": 0, "microphone": 0, "connection": 0, "failed": 0, "again": 1}


def test_a_call_that_broke_is_hung_up_with_the_conversation_and_the_page(console_desk: str, use: Use) -> None:
    found = use(console_desk, "hungUp", "ended, and left, while the connection is broken")
    _, second, third, *_ = found["taken"]
    assert (found["whole"], found["byEnd"], found["byLeaving"]) == ([], [second], [third])


def test_a_server_that_refuses_is_asked_less_often(console_desk: str, use: Use) -> None:
    found = use(console_desk, "refused", "asked too often, no audit log, key gone")
    assert found["whileLimited"] == found["withoutKey"] == []
    assert all("This key may send 60 requests a minute" in text for text in found["limited"])
    assert "The audit log cannot be written" in found["audit"]
    assert found["trouble"].startswith("The server broke here; its log says how.")


def test_what_was_said_outlives_the_connection_and_the_page(console_desk: str, use: Use) -> None:
    found = use(console_desk, "regained", "connection lost and regained, page reloaded")
    assert "came back" in found["seam"] and "was told what was said" in found["seam"]
    said = "You said: What time is it?"
    assert found["kept"] == ["It is noon.", said, said] and found["anew"] == 0


def test_after_its_end_a_conversation_goes_on_where_it_was(console_desk: str, use: Use) -> None:
    found = use(console_desk, "resumed", "ended, and gone on with")
    assert len(found["seams"]) == 1 and "You went on here." in found["seams"][0]
    assert "was told what was said" in found["seams"][0]
    assert found["heard"] == ["It is noon.", "You said: What time is it?"]


def test_words_are_never_markup(console_desk: str, use: Use) -> None:
    found = use(console_desk, "words", "markup in words, from right to left, long words")
    repeated, weather, *others = found["heard"]
    assert repeated == found["markup"] and found["markup"] in weather and found["markup"] in found["call"]
    assert others == found["others"] and found["toTheRight"] == "rtl"
    assert found["harms"] == [{"hacked": None, "made": 0, "violations": []}] * 2


def test_with_keys(tmp_path: Path, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-antiphon-console-test-0123456789abcdef0123456789abcdef"
    monkeypatch.setenv("CONSOLE_KEY", key)
    monkeypatch.setenv("ANTIPHON_API_KEYS", f"console:realtime:{key}")
    with served_process(write_config(tmp_path)) as server:
        found = use(server.address, "keys", "with a key")
    assert key in found["session"] and key not in found["local"] + found["url"]


def test_a_spoken_turn_on_real_engines(real_server: str, tmp_path: Path, use: Use) -> None:
    asked = {"model": "tts-1", "voice": "alloy", "input": "What is the capital of France?", "response_format": "wav"}
    spoken = httpx2.post(f"http://{real_server}/v1/audio/speech", json=asked, timeout=60).raise_for_status()
    microphone = tmp_path / "question.wav"
    _with_silence(spoken.content, microphone)
    found = use(real_server, "real", "a spoken turn on real engines", microphone=microphone)
    (turn, *_) = found["turns"]
    assert "capital" in turn["user"].lower() and len(turn["heard"]) > 3
    steps = {name for name, *_ in found["waterfall"]}
    assert {"turn over", "first word", "audible", "last word to first sound"} <= steps


def _with_silence(wav: bytes, path: Path) -> None:
    """Three seconds before it (the microphone is open before the server listens), a minute after it."""
    import io

    import numpy as np
    import soundfile

    samples, rate_hz = soundfile.read(io.BytesIO(wav), dtype="int16")
    quiet = np.zeros(rate_hz, dtype=np.int16)
    soundfile.write(path, np.concatenate([*[quiet] * 3, samples, *[quiet] * 60]), rate_hz, "PCM_16")
