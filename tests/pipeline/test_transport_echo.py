"""Transports that do not hear themselves: the wrapper, the microphone, and a whole session in a made room."""

from __future__ import annotations

import asyncio
import itertools
import sys
import types
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from echo_transport import RoomTransport
from sessions import TEXT
from spoken import spoken

from antiphon.benchmarks.echo_room import RATE_HZ, Room
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.protocols import EndpointPolicy, SpeechChunk, TTSCapabilities, TTSOptions
from antiphon.engines.registry import EngineContext, find
from antiphon.engines.testing import Heard, Reply, ScriptedLLM, ScriptedSTT, run_virtual
from antiphon.pipeline.config import AudioConfig
from antiphon.pipeline.events import Event
from antiphon.pipeline.frontend import AudioFrontEnd, FrontEndSettings
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.reply import ReplySettings
from antiphon.pipeline.session import Session
from antiphon.pipeline.session_settings import Engines, SessionSettings
from antiphon.pipeline.transports.base import Transport, TransportCapabilities
from antiphon.pipeline.transports.echo import EchoControlled, echo_controlled
from antiphon.pipeline.transports.microphone import MicrophoneTransport
from antiphon.pipeline.transports.recording import RecordingTransport, recording_frames
from antiphon.pipeline.workflow import ChatWorkflow

HALF = FrontEndSettings(echo="half_duplex")


def loud(seconds: float) -> AudioFrame:
    return AudioFrame(np.full(round(seconds * RATE_HZ), 0.25, dtype=np.float32), RATE_HZ)


# ------------------------------------------------------------------------------------------------ the wrapper


async def hear(transport: Transport) -> Samples:
    return np.concatenate([frame.samples async for frame in transport.frames()])


def test_what_is_played_is_not_heard() -> None:
    async def run() -> Samples:
        transport = EchoControlled(RecordingTransport(recording_frames(loud(2.0), paced=True)), AudioFrontEnd(HALF))
        listening = asyncio.create_task(hear(transport))
        await asyncio.sleep(0.5)
        await transport.play(loud(0.5), 1)
        await transport.drain()
        return await listening

    heard = run_virtual(run())
    assert len(heard) == 2 * RATE_HZ
    deaf = np.flatnonzero(heard == 0) / RATE_HZ
    assert deaf[0] == pytest.approx(0.5, abs=0.025)
    assert deaf[-1] == pytest.approx(1.25, abs=0.025)


def test_what_was_cleared_is_not_waited_for() -> None:
    async def run() -> Samples:
        transport = EchoControlled(RecordingTransport(recording_frames(loud(2.0), paced=True)), AudioFrontEnd(HALF))
        listening = asyncio.create_task(hear(transport))
        await asyncio.sleep(0.5)
        await transport.play(loud(5.0), 1)
        await asyncio.sleep(0.5)
        transport.clear()
        return await listening

    deaf = np.flatnonzero(run_virtual(run()) == 0) / RATE_HZ
    assert deaf[-1] == pytest.approx(1.25, abs=0.025)


def test_a_pause_is_told_and_what_waits_sounds_later() -> None:
    """Half-duplex shows what the front end expects to sound: up to the pause, and again from its end on."""

    async def run() -> tuple[Samples, float]:
        inner = RecordingTransport(recording_frames(loud(6.0), paced=True), max_ahead_s=0.2)
        transport = EchoControlled(inner, AudioFrontEnd(HALF))
        listening = asyncio.create_task(hear(transport))
        await asyncio.sleep(0.5)
        await transport.play(loud(1.0), 1)
        waiting = asyncio.create_task(transport.play(loud(1.0), 1))  # 1.5 to 2.5, put off by 2 s
        await asyncio.sleep(0.5)
        transport.pause()
        await asyncio.sleep(2.0)
        transport.resume()
        await waiting
        await transport.drain()
        return await listening, transport.heard_s(1)

    heard, heard_s = run_virtual(run())
    sounding = [piece / RATE_HZ for piece in np.flatnonzero(np.diff((heard == 0).astype(int)))]
    assert sounding == pytest.approx([0.5, 1.25, 3.0, 4.75], abs=0.025)
    assert heard_s == pytest.approx(2.0)


def test_what_waited_when_all_was_cleared_never_sounds() -> None:
    async def run() -> Samples:
        inner = RecordingTransport(recording_frames(loud(6.0), paced=True), max_ahead_s=0.2)
        transport = EchoControlled(inner, AudioFrontEnd(HALF))
        listening = asyncio.create_task(hear(transport))
        await transport.play(loud(1.0), 1)
        waiting = asyncio.create_task(transport.play(loud(3.0), 1))
        await asyncio.sleep(0.5)
        transport.clear()
        await waiting
        return await listening

    deaf = np.flatnonzero(run_virtual(run()) == 0) / RATE_HZ
    assert deaf[-1] == pytest.approx(0.75, abs=0.025)


def test_all_samples_come_through_the_canceller_with_their_times() -> None:
    async def run() -> list[AudioFrame]:
        inner = RecordingTransport(recording_frames(loud(1.003), paced=True, chunk_ms=7))
        return [frame async for frame in EchoControlled(inner, AudioFrontEnd()).frames()]

    frames = run_virtual(run())
    assert sum(len(frame.samples) for frame in frames) == len(loud(1.003).samples)
    assert all(len(frame.samples) for frame in frames)
    for before, after in itertools.pairwise(frames):
        assert after.start_s == pytest.approx(before.end_s)


class Bare:
    def __init__(self, capabilities: TransportCapabilities) -> None:
        self.capabilities = capabilities


@pytest.mark.parametrize(
    ("keys", "capabilities", "controlled"),
    [
        ({}, {"aec": False}, True),
        ({}, {"aec": True}, False),
        ({"echo": "off"}, {"aec": False}, False),
        ({"echo": "half_duplex"}, {"aec": True}, True),
        ({"echo": "aec"}, {"paced": False}, False),
        ({"noise_suppression": "low"}, {"paced": False}, True),
        ({"noise_suppression": "low"}, {"cleaned": True}, False),
    ],
)
def test_a_transport_is_wrapped_where_there_is_something_to_do(
    keys: dict[str, Any], capabilities: dict[str, bool], controlled: bool
) -> None:
    bare: Any = Bare(TransportCapabilities(**capabilities))
    transport = echo_controlled(bare, AudioConfig(**keys))
    assert isinstance(transport, EchoControlled) == controlled
    assert (transport is bare) != controlled
    assert not controlled or (transport.capabilities.aec and transport.capabilities.cleaned)
    assert echo_controlled(transport, AudioConfig(**keys)) is transport


# ------------------------------------------------------------------------------------------------ the microphone


class Stream:
    """A PortAudio stream that the test drives."""

    made: list[Stream]

    def __init__(self, rate_hz: int, block: int, *, channels: int, dtype: str, callback: Any) -> None:
        self.rate_hz, self.block, self.callback = rate_hz, block, callback
        self.open = False
        Stream.made.append(self)

    def start(self) -> None:
        self.open = True

    def close(self) -> None:
        self.open = False


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Stream]]:
    Stream.made = []
    module = types.SimpleNamespace(InputStream=Stream, OutputStream=Stream, PortAudioError=RuntimeError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    yield Stream.made


LATENCY_S = 0.03


async def turn_devices(streams: list[Stream], seconds: float, heard: Samples, played: list[Samples], at: int) -> int:
    """Both devices run: each 20 ms one block is played and one captured."""
    source, sink = streams
    time = types.SimpleNamespace(currentTime=7.0, outputBufferDacTime=7.0 + LATENCY_S)
    for _ in range(round(seconds / 0.02)):
        out = np.ones((sink.block, 1), dtype=np.float32)
        sink.callback(out, sink.block, time, None)
        played.append(out[:, 0])
        await asyncio.sleep(0.02)
        block = heard[at : at + source.block]
        source.callback(block.reshape(-1, 1), source.block, time, None)
        at += source.block
    return at


def run_microphone(devices: list[Stream], settings: FrontEndSettings | None) -> tuple[Samples, Samples]:
    """2 s of loud input, half a second of reply at 0.5 s. Gives what was heard and what was played."""

    async def run() -> tuple[Samples, Samples]:
        played: list[Samples] = []
        front_end = None if settings is None else AudioFrontEnd(settings)
        async with MicrophoneTransport(output_hz=RATE_HZ, front_end=front_end) as transport:
            assert all(stream.open for stream in devices)
            listening = asyncio.create_task(hear(transport))
            at = await turn_devices(devices, 0.5, loud(2.0).samples, played, 0)
            await transport.play(loud(0.5), 1)
            await turn_devices(devices, 1.5, loud(2.0).samples, played, at)
            await asyncio.sleep(0)
            transport.stop()
            heard = await listening
        assert not any(stream.open for stream in devices)
        return heard, np.concatenate(played)

    return run_virtual(run())


def test_the_microphone_is_half_duplex_by_itself(devices: list[Stream]) -> None:
    heard, played = run_microphone(devices, None)
    sounding = np.flatnonzero(played) / RATE_HZ
    assert (sounding[0], len(sounding)) == (0.5, RATE_HZ // 2)
    assert len(heard) == 2 * RATE_HZ
    deaf = np.flatnonzero(heard == 0) / RATE_HZ
    assert deaf[0] == pytest.approx(0.5 + LATENCY_S, abs=0.025), "the device's own latency is known"
    assert deaf[-1] == pytest.approx(1.0 + LATENCY_S + 0.25, abs=0.025)


def test_the_microphone_with_echo_control_off_hears_all(devices: list[Stream]) -> None:
    heard, _ = run_microphone(devices, FrontEndSettings(echo="off"))
    assert np.array_equal(heard, loud(2.0).samples)


def test_the_microphone_tells_the_canceller_what_the_device_played(devices: list[Stream]) -> None:
    told: list[tuple[float, int]] = []

    class Told(AudioFrontEnd):
        def played(self, frame: AudioFrame, at_s: float) -> None:
            told.append((at_s, len(frame.samples)))
            super().played(frame, at_s)

    async def run() -> None:
        async with MicrophoneTransport(output_hz=RATE_HZ, front_end=Told()) as transport:
            await transport.play(loud(0.05), 1)
            await transport.play(loud(10.0), 1)
            await turn_devices(devices, 0.1, loud(1.0).samples, [], 0)
            transport.clear()
            await turn_devices(devices, 0.1, loud(1.0).samples, [], 0)

    run_virtual(run())
    assert [count for _, count in told] == [320] * 5, "what was cleared never sounded"
    assert [at_s for at_s, _ in told] == pytest.approx([LATENCY_S + 0.02 * number for number in range(5)])


# ------------------------------------------------------------------------------------------------ a session


class Canned:
    """A TTS that says the same recording, whatever the text."""

    rate_hz = RATE_HZ
    capabilities = TTSCapabilities()

    def __init__(self, speech: Samples) -> None:
        self._speech = speech

    async def synthesize(self, text: str, options: TTSOptions | None = None) -> AsyncIterator[SpeechChunk]:
        for at in range(0, len(self._speech), RATE_HZ // 5):
            frame = AudioFrame(self._speech[at : at + RATE_HZ // 5], RATE_HZ, at / RATE_HZ)
            yield SpeechChunk(frame, 0, len(text))


def in_a_room(user: Samples, reply: Samples, keys: AudioConfig) -> list[Event]:
    """The events of a session that hears `user`, with the echo of its own replies 20 dB below them."""
    events: list[Event] = []

    async def run() -> None:
        transport = echo_controlled(RoomTransport(user, Room(level_db=-20.0)), keys)
        spec = find("vad", "silero")
        stt, llm = ScriptedSTT(lambda _: Heard("What time is it?")), ScriptedLLM(lambda _: Reply(["It is four."]))
        async with spec.create(spec.options_class()(), EngineContext(EngineHost(), ModelStore())) as vad, stt, llm:
            made_of = Makings(
                engines=Engines(vad, stt, Canned(reply), None, EndpointPolicy(silence_ms=500), None),
                transport=transport,
                workflow=ChatWorkflow(llm, ""),
                text=TEXT,
                settings=SessionSettings(
                    output_hz=RATE_HZ, on_error="", reply=ReplySettings(output_hz=RATE_HZ), speculate=False
                ),
            )
            await Session(made_of, sinks=[events.append]).run()

    run_virtual(run())
    return events


def what_happened(events: list[Event]) -> list[str]:
    return [event.type for event in events if event.type in ("committed", "interrupted", "error")]


@pytest.fixture(scope="module")
def question_and_reply() -> tuple[Samples, Samples]:
    question, reply = asyncio.run(
        spoken(
            [
                "What time is it?",
                "It is ten past four in the afternoon. The library closes at half past six, and the last bus into town "
                "leaves at a quarter to seven, from the stop on the other side of the street.",
            ]
        )
    )
    assert len(reply) > 8 * RATE_HZ
    return question, reply


@pytest.mark.real
def test_a_session_that_hears_its_own_reply_does_not_answer_it(question_and_reply: tuple[Samples, Samples]) -> None:
    question, reply = question_and_reply
    user = np.concatenate([np.zeros(RATE_HZ, np.float32), question, np.zeros(len(reply) + 4 * RATE_HZ, np.float32)])
    for keys in (AudioConfig(), AudioConfig(echo="half_duplex")):
        events = in_a_room(user, reply, keys)
        assert what_happened(events) == ["committed"]
        assert sum(event.type == "speech_started" for event in events) == 1
    bare = in_a_room(user, reply, AudioConfig(echo="off"))
    assert sum(event.type == "speech_started" for event in bare) > 3, "the room does echo"
    assert len(what_happened(bare)) > 1, "and the session would answer itself"


@pytest.mark.real
def test_a_user_who_talks_over_the_reply_is_heard_where_echo_is_cancelled(
    question_and_reply: tuple[Samples, Samples],
) -> None:
    question, reply = question_and_reply
    user = np.zeros(2 * len(reply) + 12 * RATE_HZ, dtype=np.float32)
    for at in (RATE_HZ, 6 * RATE_HZ):
        user[at : at + len(question)] = question
    events = in_a_room(user, reply, AudioConfig())
    assert what_happened(events) == ["committed", "interrupted", "committed"]
    starts = [event.to_dict()["at_s"] for event in events if event.type == "speech_started"]
    assert len(starts) == 2
    assert 6.0 <= starts[1] < 6.3
    assert what_happened(in_a_room(user, reply, AudioConfig(echo="half_duplex"))) == ["committed"]
