"""`antiphon transcripts`, on sessions that real sessions made."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scripted_engines import write_config
from transcript_events import Talk, sqlite_store, tell
from typer.testing import CliRunner, Result

from antiphon.engines.audio import AudioFrame
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.cli import app
from antiphon.pipeline.config import load_config
from antiphon.pipeline.config.model import TranscriptConfig
from antiphon.pipeline.conversation import new_id
from antiphon.pipeline.transcript import TranscriptService, TranscriptStore
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames


def invoke(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["transcripts", *words], input=answer, env={"COLUMNS": "100", "NO_COLOR": "1"})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def talk_for_real(config: Path) -> str:
    """A session over a recording of silence in which the scripted VAD hears speech; its id."""

    async def main() -> str:
        loaded = load_config(config)
        silence = AudioFrame(np.zeros(40000, dtype=np.float32), 16000)
        session_id = new_id("sess")
        plain = loaded.model_copy(update={"transcript": TranscriptConfig()})
        async with Assembly(plain) as assembly, TranscriptService(loaded.transcript) as transcripts:
            begun = transcripts.begin(
                session_id, RecordingTransport(recording_frames(silence, paced=False), paced=False)
            )

            def named(_: Assembly, arguments: dict[str, Any]) -> None:
                arguments["session_id"] = session_id

            session = assembly.session(begun.transport, sinks=[begun.recorder], adjust=named)
            await session.run()
            await begun.aclose()
        return session_id

    return asyncio.run(main())


def write(store: TranscriptStore, session: str, *events: Any, **options: Any) -> None:
    async def main() -> None:
        recorder = store.recorder(session, **options)
        tell(recorder, *events)
        await recorder.aclose()

    asyncio.run(main())


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A database with one talk in which much happened, and one that broke off."""
    talk, other = Talk("sess_told"), Talk("sess_broken")
    with sqlite_store(tmp_path) as store:
        write(
            store,
            "sess_told",
            *talk.asks("What *time* is <it>?"),
            talk.calls("clock", '{"zone": "here"}'),
            talk.gives("noon"),
            *talk.says("It is noon. Anything else?", heard="It is noon."),
            talk.ends("It is noon. Anything else?", status="interrupted"),
            *talk.whole_turn(2, "No.", "Goodbye."),
            person="ada",
        )
        write(store, "sess_broken", *other.asks("Pay Bob."), other.calls("pay", '{"to": "bob"}'))
    return tmp_path / "transcripts.db"


def test_the_list_shows_what_is_worth_a_look(told: Path) -> None:
    result = invoke("list", "--db", str(told))
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "a tool is in doubt" in lines["sess_broken"] and "ada" in lines["sess_told"]
    listed = json.loads(invoke("list", "--db", str(told), "--person", "ada", "--json").stdout)
    assert [(one["session"], one["turns"], one["in_doubt"]) for one in listed] == [("sess_told", 2, False)]


def test_a_conversation_is_shown_for_people(told: Path) -> None:
    result = invoke("show", "sess_t", "--db", str(told), "--times")
    assert result.exit_code == 0, result.output
    for text in (
        "You What *time* is <it>?", "tool clock {\"zone\": \"here\"}", "noon", "Antiphon It is noon.", "Anything else?",
        "not heard", "interrupted", "answered in 0.60 s", "audible",
    ):  # fmt: skip
        assert text in result.stdout
    doubtful = invoke("show", "sess_b", "--db", str(told))
    assert "in doubt: no result was recorded" in doubtful.stdout


def test_exports(told: Path, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.vtt", "a.md"):
        assert invoke("export", "sess_told", "--out", str(tmp_path / name), "--db", str(told)).exit_code == 0
    first, *rest = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert first["type"] == "session" and first["person"] == "ada"
    assert [one["seq"] for one in rest] == sorted(one["seq"] for one in rest)
    assert {"transcript", "tool_call", "tool_result", "spoken", "turn_ended", "timing", "usage"} <= {
        one["type"] for one in rest
    }
    vtt = (tmp_path / "a.vtt").read_text("utf-8")
    assert vtt.startswith("WEBVTT\n\n") and "<v You>What *time* is &lt;it&gt;?</v>" in vtt
    assert "<v Antiphon>It is noon.</v>" in vtt and "Anything else" not in vtt
    starts = [line.split(" --> ")[0] for line in vtt.splitlines() if "-->" in line]
    assert starts == sorted(starts) and len(starts) == 4
    markdown = (tmp_path / "a.md").read_text("utf-8")
    assert "**You:** What \\*time\\* is \\<it\\>?" in markdown and "*Not heard:* Anything else?" in markdown
    assert '- tool `clock({"zone": "here"})`: `noon`' in markdown
    printed = invoke("export", "sess_told", "--out", "-", "--format", "md", "--db", str(told))
    assert printed.stdout == markdown
    assert invoke("export", "sess_told", "--out", "a.txt", "--db", str(told)).exit_code == 2
    silent = invoke("export", "sess_told", "--out", str(tmp_path / "a.wav"), "--db", str(told))
    assert silent.exit_code == 1 and "has no recording" in silent.output


def test_erasing_asks_first(told: Path) -> None:
    assert invoke("erase", "--db", str(told)).exit_code == 2
    refused = invoke("erase", "--person", "ada", "--db", str(told), answer="n\n")
    assert refused.exit_code == 1 and "sess_told" in invoke("list", "--db", str(told)).stdout
    done = invoke("erase", "--person", "ada", "--db", str(told), "--yes")
    assert done.exit_code == 0 and "erased 1 session(s)" in done.stdout
    assert "sess_told" not in invoke("list", "--db", str(told)).stdout
    again = invoke("show", "sess_told", "--db", str(told))
    assert again.exit_code == 1 and "the session sess_told was erased on" in again.output
    assert "no session has the label 'ada'" in invoke("erase", "--person", "ada", "--db", str(told)).output


def test_pruning_takes_a_span(told: Path) -> None:
    assert "removed 0 session(s) older than 30d" in invoke("prune", "--keep", "30d", "--db", str(told)).stdout
    assert "removed 2 session(s) older than 0m" in invoke("prune", "--keep", "0m", "--db", str(told)).stdout
    wrong = invoke("prune", "--keep", "soon", "--db", str(told))
    assert wrong.exit_code == 2 and "no length of time" in wrong.output
    assert invoke("prune", "--db", str(told)).exit_code == 2


def test_an_upgrade_says_what_there_is(told: Path, tmp_path: Path) -> None:
    result = invoke("upgrade", "--db", str(told))
    assert result.exit_code == 0 and "schema 0001, up to date" in result.stdout
    missing = invoke("list", "--db", str(tmp_path / "nowhere.db"))
    assert missing.exit_code == 1 and "there are no transcripts yet" in missing.output
    assert not (tmp_path / "nowhere.db").exists()


def test_a_session_that_was_recorded_is_played_again(tmp_path: Path, home: Path) -> None:
    config = write_config(tmp_path, transcript="{store: sqlite, record_audio: true, person: ada}")
    session = talk_for_real(config)
    assert (home / "transcripts.db").exists()
    shown = invoke("show", "last")
    assert "hello there" in shown.stdout and "You said: hello there." in shown.stdout
    wav = tmp_path / "both.wav"
    assert invoke("export", session, "--out", str(wav)).exit_code == 0
    samples, rate_hz = soundfile.read(wav)
    assert rate_hz == 24000 and samples.shape[1] == 2
    assert np.abs(samples[:, 0]).max() < 0.001 < 0.05 < np.abs(samples[:, 1]).max(), "the user was silence, scripted"
    answered_s = np.flatnonzero(np.abs(samples[:, 1]) > 0.05)[0] / rate_hz
    assert 0.8 < answered_s < 2.5, "the reply lies behind the question"

    (tmp_path / "other").mkdir()
    other = write_config(
        tmp_path / "other", stt='{engine: "scripted_engines:Stt", says: "hello where"}', transcript="{store: none}"
    )
    result = invoke("replay", session, str(other), "--fast")
    assert result.exit_code == 0, result.output
    assert "- hello there" in result.stdout and "+ hello where" in result.stdout
    assert "1 turns: heard the same in 0, said the same in 0, called the same tools in 1" in result.stdout
    (pair,) = json.loads(invoke("replay", session, str(config), "--fast", "--json").stdout)
    assert pair["same"] == {"heard": True, "called": True, "said": True}
    assert pair["then"]["assistant"] == pair["now"]["assistant"] != ""
    assert len(json.loads(invoke("list", "--json").stdout)) == 1, "a replay is not kept"


def test_a_replay_runs_no_tools_unless_told_to(tmp_path: Path, home: Path) -> None:
    config = write_config(tmp_path, transcript="{store: sqlite, record_audio: true}")
    session = talk_for_real(config)
    tools = write_config(tmp_path, workflow='{kind: "scripted_engines:Tools"}')
    refused = invoke("replay", session, str(tools), "--fast")
    assert refused.exit_code == 1 and "would run them once more, for real" in refused.output
    allowed = invoke("replay", session, str(tools), "--fast", "--run-tools")
    assert allowed.exit_code == 0, allowed.output
    assert "- nothing" in allowed.stdout and "+ clock({})" in allowed.stdout


def test_an_encrypted_recording_needs_its_key(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    config = write_config(
        tmp_path, transcript=f"{{store: sqlite, record_audio: true, encrypt: true, key_file: {tmp_path / 'key'}}}"
    )
    session = talk_for_real(config)
    assert [file.suffix for file in (home / "recordings").iterdir()] == [".sealed"]
    monkeypatch.delenv("ANTIPHON_RECORDING_KEY", raising=False)
    without = invoke("export", session, "--out", str(tmp_path / "a.wav"))
    assert without.exit_code == 1 and "there is no key" in without.output
    assert invoke("export", session, "--out", str(tmp_path / "a.wav"), "--config", str(config)).exit_code == 0
    assert invoke("erase", "--session", session, "--yes").exit_code == 0
    assert list((home / "recordings").iterdir()) == []
