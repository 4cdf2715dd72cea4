"""Calls from Asterisk over a socket: real time, scripted engines, a caller that speaks AudioSocket."""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from network_clock import run_networked
from served import config

from antiphon.engines.testing import Reply
from antiphon.pipeline.config import Config
from antiphon.pipeline.errors import ConfigError
from antiphon.pipeline.events import Event, Interrupted, KeyPressed, TranscriptEvent
from antiphon.server.fronts import Fronts
from antiphon.server.service import Service
from antiphon.server.telephony.audiosocket import listen_audiosocket
from antiphon.server.telephony.audiosocket_wire import RATES_HZ, Packet, parse_header

CALL = uuid.UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
LONG = "One two three four five six seven eight nine ten. " * 4


class Caller:
    """Asterisk's side of a call."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: int = 0x10) -> None:
        self._reader = reader
        self.writer = writer
        self.kind = kind
        self.rate_hz = RATES_HZ[kind]
        self.packets: list[tuple[float, int, bytes]] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                kind, length = parse_header(await self._reader.readexactly(3))
                self.packets.append((loop.time(), kind, await self._reader.readexactly(length)))
            except (asyncio.IncompleteReadError, OSError):
                return

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(Packet(kind, payload).encoded())

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        count = self.rate_hz // 50
        tone = 0.3 * np.sin(2 * np.pi * 220 / self.rate_hz * np.arange(self.rate_hz))
        pcm = (tone * 32767 * loud).astype("<i2").tobytes()
        for number in range(round(seconds * 50)):
            await asyncio.sleep(0.02)
            self.send(self.kind, pcm[number % 50 * count * 2 :][: count * 2])

    def sound(self) -> np.ndarray[Any, Any]:
        return np.frombuffer(b"".join(data for _, kind, data in self.packets if kind == self.kind), "<i2")

    def kinds(self) -> list[int]:
        return [kind for _, kind, _ in self.packets]


def audiosocket_config(audiosocket: dict[str, Any] | None = None, **fields: Any) -> Config:
    return config({"audiosocket": {"port": 0, **(audiosocket or {})}, **fields.pop("server", {})}, **fields)


@asynccontextmanager
async def answering(given: Config) -> AsyncIterator[tuple[Any, Service, list[Event]]]:
    fronts = Fronts(given)
    events: list[Event] = []
    async with Service(given) as service:
        await service.load()
        make = service.session
        service.session = lambda *args, **kw: make(*args, **{**kw, "sinks": [events.append]})  # type: ignore[method-assign]
        async with fronts.open(service):
            yield fronts, service, events
    fronts.close()


@asynccontextmanager
async def calling(fronts: Fronts, *, kind: int = 0x10, identify: bool = True) -> AsyncIterator[Caller]:
    caller = Caller(*await asyncio.open_connection(*fronts.addresses["audiosocket"]), kind)
    try:
        if identify:
            caller.send(0x01, CALL.bytes)
        yield caller
    finally:
        caller.reading.cancel()
        caller.writer.transport.abort()


def call(talk: Callable[[Caller], Awaitable[None]], given: Config | None = None, **arguments: Any) -> Any:
    async def main() -> Any:
        async with answering(given or audiosocket_config()) as (fronts, service, events):
            async with calling(fronts, **arguments) as caller:
                await talk(caller)
                caller.send(0x00)
                async with asyncio.timeout(60):
                    await caller.reading
            async with asyncio.timeout(60):
                while service.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            return caller, events

    return run_networked(main())


def texts(events: list[Event], role: str) -> list[str]:
    said = [event for event in events if isinstance(event, TranscriptEvent) and event.final]
    return [event.text for event in said if event.role == role]


# ------------------------------------------------------------------------------------------ a call


def test_a_question_is_answered_at_the_rate_of_the_call_in_frames_of_20_ms() -> None:
    kind = 0x12  # 16 kHz; the other calls here are of 8 kHz

    async def talk(caller: Caller) -> None:
        await caller.speak(0.6)
        await caller.speak(1.6, loud=False)

    caller, events = call(talk, kind=kind)
    assert texts(events, "user") == ["what time is it"] and texts(events, "assistant") == ["It is noon."]
    audio = [data for _, one, data in caller.packets if one == kind]
    assert {len(data) for data in audio} == {RATES_HZ[kind] // 50 * 2}
    loud = np.abs(caller.sound().reshape(-1, RATES_HZ[kind] // 50)).max(axis=1) > 500
    assert np.count_nonzero(loud) == pytest.approx(0.66 * 50, abs=2), "all of the reply"
    assert caller.kinds()[-1] == 0x00, "hung up in return"


def test_a_caller_who_speaks_into_the_reply_stops_it_and_what_was_heard_is_known() -> None:
    async def talk(caller: Caller) -> None:
        await caller.speak(0.6)
        await caller.speak(1.6, loud=False)
        await caller.speak(0.9)
        await caller.speak(0.3, loud=False)

    caller, events = call(talk, audiosocket_config(llm=[Reply.of(LONG)]))
    stopped = next(event for event in events if isinstance(event, Interrupted))
    loud = np.abs(caller.sound().reshape(-1, 160)).max(axis=1) > 500
    said_s = np.count_nonzero(loud) * 0.02
    assert LONG.startswith(stopped.heard) and stopped.unheard
    assert stopped.heard and len(stopped.heard) * 0.06 <= said_s + 0.1, "no more than went out"


def test_keys_are_events_and_a_number_is_a_turn() -> None:
    async def talk(caller: Caller) -> None:
        await caller.speak(0.2, loud=False)
        for key in b"42#":
            caller.send(0x03, bytes([key]))
        caller.send(0x03, b"?")
        await caller.speak(0.8, loud=False)

    _, events = call(talk, audiosocket_config(stt=(), llm=lambda asked: Reply.of(asked.messages[-1].content)))
    assert [event.key for event in events if isinstance(event, KeyPressed)] == ["4", "2", "#"]
    assert texts(events, "user") == ["42"] and texts(events, "assistant") == ["42"]


def test_the_agent_hangs_up_when_the_conversation_is_over() -> None:
    async def main() -> list[int]:
        async with answering(audiosocket_config(session={"greeting": "Hello.", "on_error": ""})) as (
            fronts,
            service,
            _,
        ):
            async with calling(fronts) as caller:
                talking = asyncio.create_task(caller.speak(5, loud=False))
                await asyncio.sleep(0.3)
                await asyncio.gather(service.drain(), fronts.drain(5.0))
                async with asyncio.timeout(60):
                    await caller.reading
                talking.cancel()
                assert np.abs(caller.sound()).max() > 3000, "the greeting was said to its end"
                return caller.kinds()

    assert run_networked(main())[-1] == 0x00


# ------------------------------------------------------------------------------------ what goes wrong


def test_packets_that_make_no_sense_are_dropped_and_the_call_goes_on() -> None:
    async def talk(caller: Caller) -> None:
        await caller.speak(0.1, loud=False)
        for kind, payload in ((0x42, b"abc"), (0x10, b"abc"), (0x10, b""), (0x13, bytes(960)), (0x01, CALL.bytes)):
            caller.send(kind, payload)
        await caller.speak(0.6)
        await caller.speak(1.0, loud=False)

    _, events = call(talk)
    assert texts(events, "assistant") == ["It is noon."]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n" + Packet(0x01, CALL.bytes).encoded() * 2000,
        Packet(0x01, b"short").encoded(),
        Packet(0x10, bytes(320)).encoded(),
    ],
)
def test_what_is_no_call_is_told_and_closed(data: bytes) -> None:
    async def main() -> list[int]:
        async with answering(audiosocket_config({"idle_s": 0.3}, stt=(), llm=(), repeat=False)) as (fronts, service, _):
            async with calling(fronts, identify=False) as caller:
                caller.writer.write(data)
                async with asyncio.timeout(60):
                    await caller.reading
                assert service.sessions == 0
                return caller.kinds()

    kinds = run_networked(main())
    assert kinds[-1] == 0x00 and set(kinds) <= {0x00, 0xFF}


def test_a_line_that_falls_silent_is_hung_up_and_a_hang_up_before_any_audio_is_no_call() -> None:
    async def main() -> None:
        given = audiosocket_config({"idle_s": 0.3}, stt=(), llm=(), repeat=False)
        async with answering(given) as (fronts, service, _):
            async with calling(fronts) as caller:
                await caller.speak(0.2, loud=False)
                async with asyncio.timeout(60):
                    await caller.reading
                assert caller.kinds()[-1] == 0x00
            for last in (0x00, 0xFF):
                async with calling(fronts) as caller:
                    caller.send(last, b"\x01" if last else b"")
                    async with asyncio.timeout(60):
                        await caller.reading
                    assert caller.kinds() == [0x00]
            assert service.sessions == 0

    run_networked(main())


def test_calls_for_which_there_is_no_room_are_hung_up() -> None:
    async def main() -> None:
        given = audiosocket_config({"max_connections": 2}, server={"max_sessions": 1})
        async with answering(given) as (fronts, service, _), calling(fronts) as first:
            talking = asyncio.create_task(first.speak(5, loud=False))
            async with asyncio.timeout(60):
                while not service.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with calling(fronts) as second:
                await second.speak(0.1, loud=False)
                async with asyncio.timeout(60):
                    await second.reading
                assert second.kinds() == [0x00], "no more conversations"
            async with calling(fronts) as second, calling(fronts) as third:
                async with asyncio.timeout(60):
                    await third.reading
                assert third.kinds() == [0x00], "no more connections"
                assert not second.reading.done()
            talking.cancel()

    run_networked(main())


def test_a_call_that_has_not_begun_when_the_server_ends_does_not_begin() -> None:
    async def main() -> list[int]:
        async with answering(audiosocket_config(stt=(), llm=(), repeat=False)) as (fronts, service, _):
            async with calling(fronts) as caller:
                await asyncio.sleep(0.2)
                draining = asyncio.create_task(fronts.drain(5.0))
                await caller.speak(0.2, loud=False)  # too late
                async with asyncio.timeout(60):
                    await caller.reading
                    await draining
                assert service.sessions == 0
                return caller.kinds()

    assert run_networked(main()) == [0x00]


def test_it_is_off_by_default_and_open_only_on_demand() -> None:
    assert listen_audiosocket(config()) is None
    with pytest.raises(ConfigError, match="no keys to ask for") as caught:
        listen_audiosocket(audiosocket_config({"host": "0.0.0.0"}))
    assert caught.value.key == "server.audiosocket.host"


def test_the_wire_is_asterisks() -> None:
    assert Packet(0x00).encoded() == b"\x00\x00\x00"
    assert Packet(0x01, CALL.bytes).encoded()[:3] == b"\x01\x00\x10"
    assert Packet(0x10, bytes(320)).encoded()[:3] == b"\x10\x01\x40", "the length is big-endian"
    assert parse_header(b"\x03\x00\x01") == (0x03, 1)
    with pytest.raises(struct.error):
        Packet(0x10, bytes(70000)).encoded()
