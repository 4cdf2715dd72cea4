"""Peers in processes of their own: started, spoken to, measured, and what happens when they break."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_peer
import numpy as np
import pytest
import soundfile

from antiphon.benchmarks.clips import RATE_HZ, Clip
from antiphon.benchmarks.drive import Patience
from antiphon.benchmarks.peers.catalog import PEERS, find_peer
from antiphon.benchmarks.peers.child import ChildPeer
from antiphon.benchmarks.peers.errors import PeerFailed, PeerInvalid, PeerMissing
from antiphon.benchmarks.peers.job import PeerJob
from antiphon.benchmarks.peers.process import driver_environment
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.benchmarks.subject import Listener
from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.events import Committed, ErrorEvent, TranscriptEvent, TurnEnded

SCRIPT = Path(fake_peer.__file__)
LIVE, WHOLE = find_peer("pipecat"), find_peer("agents")


def job(mode: str) -> PeerJob:
    nowhere = Path("nowhere")
    return PeerJob(nowhere, "int8", "en", nowhere, "tiny", nowhere, mode, 0.0, 80)


def peer(mode: str, **fields: Any) -> ChildPeer:
    spec = WHOLE if mode == "whole" else LIVE
    return ChildPeer(spec, Path(sys.executable), job(mode), llm_url="http://127.0.0.1:9/v1", script=SCRIPT, **fields)


def beep(seconds: float) -> Any:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def clip(folder: Path, name: str = "beep.wav") -> Clip:
    samples = np.concatenate([np.zeros(3200, np.float32), beep(0.3), np.zeros(8000, np.float32)])
    soundfile.write(folder / name, samples, RATE_HZ, subtype="PCM_16")
    return Clip(folder / name, "tone", "en", len(samples) / RATE_HZ, 0.2, 0.5)


@contextlib.asynccontextmanager
async def conversation(mode: str) -> AsyncIterator[tuple[ChildPeer, Any, Listener]]:
    async with peer(mode) as subject:
        listener = Listener()
        session = await subject.open(listener)
        yield subject, session, listener
        await session.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


async def say(session: Any) -> None:
    """A beep and quiet, faster than life."""
    samples = np.concatenate([beep(0.3), np.zeros(8000, np.float32)])
    for at in range(0, len(samples), 320):
        await session.hear(samples[at : at + 320])


# ------------------------------------------------------------------------------------------ at work


def test_audio_goes_in_and_the_answer_comes_out() -> None:
    async def run() -> Listener:
        async with conversation("chatty") as (_, session, listener):
            await say(session)
            await until(lambda: any(isinstance(event, TurnEnded) for event in listener.events))
        return listener

    listener = asyncio.run(run())
    heard, committed, ended = listener.events
    assert isinstance(heard, TranscriptEvent) and heard.text == "4800 samples"
    assert isinstance(committed, Committed)
    assert isinstance(ended, TurnEnded) and ended.text == "conversation 1"
    (piece,) = listener.sink.pieces
    assert piece.rate_hz == fake_peer.OUT_HZ and len(piece.samples) == fake_peer.OUT_HZ // 2
    assert abs(float(np.abs(piece.samples).max()) - 0.3) < 0.001


def test_a_recording_is_handed_over_whole() -> None:
    async def run() -> Listener:
        async with conversation("whole") as (_, session, listener):
            await session.hear(beep(1.0))
            await until(lambda: any(isinstance(event, TurnEnded) for event in listener.events))
        return listener

    listener = asyncio.run(run())
    assert [event.text for event in listener.events if isinstance(event, TranscriptEvent)] == ["16000 samples"]


def test_conversations_are_separate_and_one_at_a_time() -> None:
    async def run() -> list[str]:
        said = []
        async with peer("echo") as subject:
            for _ in range(2):
                listener = Listener()
                session = await subject.open(listener)
                with pytest.raises(PeerFailed, match="one conversation at a time"):
                    await subject.open(Listener())
                await say(session)
                await until(lambda now=listener: any(isinstance(event, TurnEnded) for event in now.events))
                await session.close()
                said += [event.text for event in listener.events if isinstance(event, TurnEnded)]
        return said

    assert asyncio.run(run()) == ["conversation 1", "conversation 2"]


def test_a_peer_can_be_started_again() -> None:
    async def run() -> list[int]:
        subject = peer("echo")
        assert not subject.pids
        pids = []
        for _ in range(2):
            async with subject:
                pids += subject.pids
                await (await subject.open(Listener())).close()
        return pids

    first, second = asyncio.run(run())
    assert first != second
    assert not Path(f"/proc/{first}").exists() and not Path(f"/proc/{second}").exists()


def test_a_whole_run_measures_it_like_everybody_else(tmp_path: Path) -> None:
    entry = Entry(peer("echo"))
    options = Options(warmup=1, patience=Patience(answer_s=5, grace_s=0.3))
    asyncio.run(run_turn_about([entry], [clip(tmp_path)], options))
    (result,) = entry.results([clip(tmp_path)])
    assert (result.config, result.turns, result.answered) == ("pipecat", 1, 1)
    assert result.ready_s and result.peak_rss_mb and result.peak_rss_mb > 5
    (cold, record) = result.turn_records
    assert cold.cold and not record.cold
    assert record.outcome == "answered" and record.reply == "conversation 2" and record.cpu_s is not None
    # It answers 200 ms after the last loud frame; how much later the machine lets it is no matter here.
    assert record.ttfa_ms is not None and record.ttfa_ms >= 190
    assert record.commit_delay_ms is not None and record.commit_delay_ms <= record.ttfa_ms
    assert record.stages.vad_stop_ms is not None and record.stages.first_audio_ms is not None


# ---------------------------------------------------------------------------------------- what breaks


def test_a_peer_that_cannot_load_says_why() -> None:
    async def run() -> None:
        async with peer("broken"):
            raise AssertionError("it started")

    with pytest.raises(PeerFailed, match="pipecat: RuntimeError: a model that is no model") as caught:
        asyncio.run(run())
    assert "Traceback" in caught.value.hint and "the fake peer" not in caught.value.message


def test_a_peer_that_never_gets_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.benchmarks.peers.process.LOADING_S", 1.0)
    monkeypatch.setattr("antiphon.benchmarks.peers.process.LEAVING_S", 0.2)

    async def run() -> None:
        async with peer("mute"):
            raise AssertionError("it started")

    with pytest.raises(PeerFailed, match="did not answer 'load' within 1 s"):
        asyncio.run(run())


def test_an_interpreter_that_is_not_there() -> None:
    async def run() -> None:
        subject = ChildPeer(LIVE, Path("/nowhere/python"), job("echo"), llm_url="http://127.0.0.1:9/v1", script=SCRIPT)
        async with subject:
            raise AssertionError("it started")

    with pytest.raises(PeerFailed, match="pipecat cannot be started"):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("dies", r"ended \(exit status 3\)"),
        ("crashes", "ValueError: a scripted failure"),
        ("garbage", "sent what cannot be read"),
    ],
)
def test_a_peer_that_breaks_while_at_work_fails_the_session(mode: str, told: str) -> None:
    async def run() -> None:
        async with conversation(mode) as (_, session, _listener):
            async with asyncio.timeout(60):
                while True:
                    await session.hear(beep(0.02))
                    await asyncio.sleep(0.01)

    with pytest.raises(PeerFailed, match=told):
        asyncio.run(run())


def test_a_broken_peer_is_a_failed_turn_of_the_run(tmp_path: Path) -> None:
    entry = Entry(peer("dies"))
    asyncio.run(run_turn_about([entry], [clip(tmp_path)], Options(warmup=0)))
    records = [*entry.cold, *entry.records[1]]
    assert [record.outcome for record in records] == ["failed"]
    assert "exit status 3" in records[0].why


def test_an_error_that_a_peer_reports_fails_the_turn() -> None:
    async def run() -> Listener:
        async with conversation("unwilling") as (_, session, listener):
            await say(session)
            await until(lambda: any(isinstance(event, TurnEnded) for event in listener.events))
        return listener

    listener = asyncio.run(run())
    assert [event.message for event in listener.events if isinstance(event, ErrorEvent)] == ["no voice today"]
    assert [event.status for event in listener.events if isinstance(event, TurnEnded)] == ["failed"]


# ---------------------------------------------------------------------------------------- what it may


def test_a_driver_gets_no_keys_no_foreign_packages_and_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")

    async def run() -> dict[str, str]:
        async with peer("echo") as subject:
            return subject.settings

    assert asyncio.run(run())["secrets"] == ""
    environment = driver_environment(os.environ)
    assert environment["HF_HUB_OFFLINE"] == "1" and environment["OPENAI_AGENTS_DISABLE_TRACING"] == "1"
    assert "PYTHONPATH" not in environment and "PATH" in environment


def test_a_driver_cannot_leave_the_machine() -> None:
    async def run() -> Listener:
        async with conversation("curious") as (_, session, listener):
            await session.hear(beep(0.02))
            await until(lambda: listener.events)
        return listener

    (event,) = asyncio.run(run()).events
    assert isinstance(event, TranscriptEvent)
    assert event.text == "a peer that is measured stays on this machine: it wanted to reach 192.0.2.1"


# ------------------------------------------------------------------------------------------ their names


def test_peers_are_found_by_either_name() -> None:
    assert find_peer("agents") is find_peer("agents.voice") is PEERS[2]
    with pytest.raises(PeerInvalid, match="no peer 'alexa'") as caught:
        find_peer("alexa")
    assert "pipecat, livekit, agents.voice, realtime=URL" in caught.value.hint


def test_a_peer_that_is_not_installed_says_how(tmp_path: Path) -> None:
    from antiphon.benchmarks.peers.choose import choose_peers

    with pytest.raises(PeerMissing, match="livekit is not installed") as caught:
        choose_peers(["livekit"], lambda: job("echo"), folder=tmp_path)
    assert caught.value.hint == "antiphon bench peers install livekit"


def test_a_job_takes_the_models_of_a_configuration(tmp_path: Path) -> None:
    from antiphon.benchmarks.peers.job import peer_job
    from antiphon.engines.protocols import ModelFiles
    from antiphon.pipeline.config import parse_config
    from antiphon.pipeline.errors import ConfigError

    class Store:
        def resolve(self, name: str) -> ModelFiles:
            file = {"whisper-base": "model.bin", "smollm2-135m-instruct": "l.gguf", "en_US-joe-medium": "v.onnx"}[name]
            return ModelFiles(name, str(tmp_path), {file: str(tmp_path / file), "x.json": "x.json"})

    text = """
        extends: tiny.yaml
        stt: {engine: faster_whisper, model: whisper-base, compute_type: float32, language: de}
        llm: {engine: llama_cpp, model: smollm2-135m-instruct, temperature: 0.5, max_tokens: 33}
        workflow: {instructions: Be brief.}
    """
    made = peer_job(parse_config(text), Store())  # type: ignore[arg-type]
    assert made == PeerJob(
        tmp_path,
        "float32",
        "de",
        tmp_path / "l.gguf",
        "smollm2-135m-instruct",
        tmp_path / "v.onnx",
        "Be brief.",
        0.5,
        33,
    )
    assert made.for_driver("http://here/v1")["llm_url"] == "http://here/v1"
    server = made.for_llm_server()
    assert (server["model"], server["alias"], server["threads"]) == (str(tmp_path / "l.gguf"), made.llm_name, 2)
    assert replace(made, llm_threads=4).for_llm_server()["threads"] == 4

    other = parse_config("{extends: tiny.yaml, llm: {engine: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}}")
    with pytest.raises(ConfigError, match=r"mine.yaml: llm.engine: the peers cannot run the engine 'openai'"):
        peer_job(other, Store(), name="mine.yaml")  # type: ignore[arg-type]


def test_the_llm_servers_packages_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.benchmarks.peers.child._SERVER_PACKAGES", ("no_such_package",))

    async def run() -> None:
        async with ChildPeer(LIVE, Path(sys.executable), job("echo"), script=SCRIPT):
            raise AssertionError("it started")

    with pytest.raises(EngineUnavailable, match="needs the Python package no_such_package") as caught:
        asyncio.run(run())
    assert caught.value.hint == 'pip install "llama-cpp-python[server]==0.3.36"'
