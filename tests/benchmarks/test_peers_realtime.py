"""The benchmark as a client of servers that speak OpenAI Realtime."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from realtime_standin import RealtimeStandin

from antiphon.benchmarks.clips import RATE_HZ, Clip
from antiphon.benchmarks.drive import Patience
from antiphon.benchmarks.peers.address import KEY_VARIABLE, check_url, listening_pids, shown_url
from antiphon.benchmarks.peers.errors import PeerFailed, PeerInvalid
from antiphon.benchmarks.peers.realtime import RealtimePeer, RealtimeSession
from antiphon.benchmarks.run import Entry, Options, run_turn_about
from antiphon.benchmarks.subject import Listener
from antiphon.engines.net import forbid_network
from antiphon.pipeline.events import Committed, ErrorEvent, Event, SpeechStarted, TranscriptEvent, TurnEnded


def client(url: str, environ: Mapping[str, str] | None = None, **fields: Any) -> RealtimePeer:
    return RealtimePeer(url, instructions="Be brief.", environ=environ or {}, **fields)


def beep(seconds: float) -> Any:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


async def say(session: RealtimeSession) -> None:
    """A beep and quiet, faster than life."""
    samples = np.concatenate([np.zeros(3200, np.float32), beep(0.3), np.zeros(8000, np.float32)])
    for at in range(0, len(samples), 320):
        await session.hear(samples[at : at + 320])


def talked(turns: int = 1, **fields: Any) -> tuple[RealtimeStandin, Listener]:
    """So many turns with a server in one conversation."""
    server = RealtimeStandin(**fields)

    async def run() -> Listener:
        async with server, client(server.url) as peer:
            listener = Listener()
            session = await peer.open(listener)
            for number in range(turns):
                await say(session)
                async with asyncio.timeout(60):
                    while len(of(listener, TurnEnded)) <= number:  # noqa: ASYNC110 - a plain list has no event to wait for
                        await asyncio.sleep(0.01)
            await session.close()
        return listener

    return server, asyncio.run(run())


def of(listener: Listener, kind: type[Event]) -> list[Any]:
    return [event for event in listener.events if isinstance(event, kind)]


# ------------------------------------------------------------------------------------------- at work


@pytest.mark.parametrize("mode", ["", "late", "old"])
def test_a_turn_goes_there_and_back(mode: str) -> None:
    server, listener = talked(mode=mode, transcript="what time is it", reply="It is noon.")
    assert server.invalid == []
    (transcript,) = of(listener, TranscriptEvent)
    assert (transcript.text, transcript.turn, transcript.final) == ("what time is it", 1, True)
    (committed,) = of(listener, Committed)
    (ended,) = of(listener, TurnEnded)
    assert (ended.turn, ended.status, ended.text) == (1, "completed", "It is noon.")
    times = ended.timings
    assert times.vad_stop_s <= committed.t_s + 1e-3 and times.first_token_s <= times.first_audio_s
    assert sum(len(piece.samples) for piece in listener.sink.pieces) == 3 * 24000 // 5
    assert {piece.rate_hz for piece in listener.sink.pieces} == {24000}


def test_the_session_is_an_ordinary_one_with_the_servers_own_turn_detection() -> None:
    server, _ = talked()
    first, second = server.sessions
    assert first == second, "the first connection only asks whether there is a server"
    assert first["instructions"] == "Be brief." and first["output_modalities"] == ["audio"]
    assert first["audio"]["input"]["turn_detection"] == {"type": "server_vad"}
    assert first["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert all("Authorization" not in headers for headers in server.headers)


def test_audio_arrives_whole_and_without_delay() -> None:
    server, listener = talked()
    given_s = (3200 + 4800 + 8000) / RATE_HZ
    assert 0 <= given_s - server.heard[1] < 0.001
    (started,) = of(listener, SpeechStarted)
    assert started.at_s == pytest.approx(0.2, abs=0.025) and started.audio_s >= started.at_s


def test_turns_of_a_conversation_are_counted() -> None:
    _, listener = talked(turns=2, mode="late")
    assert [event.turn for event in of(listener, Committed)] == [1, 2]
    assert [event.turn for event in of(listener, TurnEnded)] == [1, 2]
    assert {event.turn for event in of(listener, TranscriptEvent)} <= {1, 2}


def test_the_user_silences_the_loudspeaker() -> None:
    _, listener = talked(turns=2, reply="one two three four five six seven eight nine ten")
    first_s = 10 * 0.2
    played_s = sum(len(piece.samples) / piece.rate_hz for piece in listener.sink.pieces)
    assert first_s <= played_s < 2 * first_s, "the rest of the first answer was never played"


def test_a_whole_run(tmp_path: Path) -> None:
    samples = np.concatenate([np.zeros(3200, np.float32), beep(0.3), np.zeros(8000, np.float32)])
    soundfile.write(tmp_path / "beep.wav", samples, RATE_HZ, subtype="PCM_16")
    clip = Clip(tmp_path / "beep.wav", "tone", "en", len(samples) / RATE_HZ, 0.2, 0.5, transcript="hi")

    async def run() -> Entry:
        async with RealtimeStandin() as server:
            entry = Entry(client(server.url))
            await run_turn_about([entry], [clip], Options(warmup=0, patience=Patience(grace_s=0.3)))
            return entry

    entry = asyncio.run(run())
    (record,) = [*entry.cold, *entry.records[1]]
    assert (record.outcome, record.heard, record.reply, record.word_errors) == ("answered", "hi", "Hello there.", 0)
    assert record.ttfa_ms is not None and record.ttfa_ms >= 190
    assert entry.meter is None and record.cpu_s is None, "the server is in this very process: its cost is not known"


# ---------------------------------------------------------------------------------------- what breaks


async def opened(server: RealtimeStandin, environ: Mapping[str, str] | None = None) -> None:
    async with server, client(server.url, environ):
        pass


def test_a_server_that_refuses_the_session() -> None:
    with pytest.raises(PeerFailed, match="the server refuses the session: no such voice"):
        asyncio.run(opened(RealtimeStandin(mode="refuses")))


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.benchmarks.peers.realtime.CONNECTING_S", 0.3)
    with pytest.raises(PeerFailed, match=r"ws://127.0.0.1:\d+/v1/realtime\?model=stand-in: no session within 0.3 s"):
        asyncio.run(opened(RealtimeStandin(mode="silent")))


def test_no_server_at_all() -> None:
    async def run() -> None:
        async with client("ws://127.0.0.1:9/v1/realtime"):
            raise AssertionError("it connected")

    with pytest.raises(PeerFailed, match=r"ws://127\.0\.0\.1:9/v1/realtime: "):
        asyncio.run(run())


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("hangs_up", "the server closed the connection"),
        ("garbage", "the server sent what cannot be read: JSONDecodeError"),
        ("bad_audio", "audio that is not base64"),
    ],
)
def test_a_server_that_breaks_fails_the_session(mode: str, told: str) -> None:
    async def run() -> None:
        async with RealtimeStandin(mode=mode) as server, client(server.url) as peer:
            session = await peer.open(Listener())
            try:
                async with asyncio.timeout(60):
                    while True:
                        await say(session)
                        await asyncio.sleep(0.01)
            finally:
                await session.close()

    with pytest.raises(PeerFailed, match=told):
        asyncio.run(run())


def test_a_response_that_fails_fails_the_turn() -> None:
    _, listener = talked(mode="fails")
    assert [event.status for event in of(listener, TurnEnded)] == ["failed"]
    assert [event.message for event in of(listener, ErrorEvent)] == ["out_of_memory"]


def test_an_error_in_between_is_told_and_ends_nothing() -> None:
    _, listener = talked(mode="complains")
    assert [event.message for event in of(listener, ErrorEvent)] == ["slow down"]
    assert [event.status for event in of(listener, TurnEnded)] == ["completed"]


# ------------------------------------------------------------------------------------- keys and addresses


def test_the_key_comes_from_its_own_variable_only() -> None:
    server = RealtimeStandin(api_key="rt-secret")
    asyncio.run(opened(server, {KEY_VARIABLE: "rt-secret"}))
    assert server.headers[0]["Authorization"] == "Bearer rt-secret"
    with pytest.raises(PeerFailed) as caught:
        asyncio.run(opened(RealtimeStandin(api_key="rt-secret"), {"OPENAI_API_KEY": "rt-secret"}))
    assert "401" in caught.value.message and KEY_VARIABLE in caught.value.hint


def test_a_wrong_key_is_never_shown() -> None:
    with pytest.raises(PeerFailed) as caught:
        asyncio.run(opened(RealtimeStandin(api_key="rt-secret"), {KEY_VARIABLE: "rt-wrong"}))
    assert "rt-wrong" not in str(caught.value)
    peer = client("ws://127.0.0.1:9/v1/realtime", {KEY_VARIABLE: "rt-wrong"})
    assert "rt-wrong" not in repr(peer.settings)


@pytest.mark.parametrize("url", ["http://127.0.0.1/v1", "127.0.0.1:8080", "ws://", "wss:///v1/realtime"])
def test_what_is_no_websocket_url_is_refused(url: str) -> None:
    with pytest.raises(PeerInvalid, match="is no WebSocket URL"):
        check_url(url, allow_network=True)


def test_another_machine_must_be_allowed() -> None:
    url = "wss://voice.example.com/v1/realtime?model=a&token=hidden"
    with pytest.raises(PeerInvalid, match="is not on this machine") as caught:
        check_url(url, allow_network=False)
    assert "--allow-network" in caught.value.hint and "hidden" not in str(caught.value)
    assert check_url(url, allow_network=True) == url
    assert shown_url(url) == "wss://voice.example.com/v1/realtime?model=a"


def test_a_password_in_a_url_is_refused_and_not_shown() -> None:
    with pytest.raises(PeerInvalid, match="carries a password") as caught:
        check_url("ws://me:secret@127.0.0.1/v1", allow_network=False)
    assert "secret" not in str(caught.value)


def test_a_configuration_that_forbids_the_network_is_named() -> None:
    async def run() -> None:
        async with client("ws://192.0.2.1/v1/realtime", allow_network=True):
            raise AssertionError("it connected")

    with forbid_network(), pytest.raises(PeerFailed, match="the configuration forbids the network") as caught:
        asyncio.run(run())
    assert "session.offline=false" in caught.value.hint


def test_the_processes_of_a_local_server_are_found() -> None:
    async def run() -> tuple[int, ...]:
        code = (
            "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True);"
            "sys.stdin.read()"
        )
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin and child.stdout
        port = int(await child.stdout.readline())
        found = await asyncio.to_thread(listening_pids, f"ws://127.0.0.1:{port}/v1")
        child.stdin.close()
        await child.wait()
        assert found == (child.pid,)
        return await asyncio.to_thread(listening_pids, f"ws://127.0.0.1:{port}/v1")

    assert asyncio.run(run()) == ()
    assert listening_pids("wss://voice.example.com/v1") == ()
