"""What goes wrong with calls: dead peers, floods, limits, strangers. Bounded, and cleaned up."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import threading
from contextlib import closing
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCPeerConnection
from keyed import error_of
from ports import free_port
from served import config
from webrtc_call import CALLS, Phone, on_the_phone, tone
from webrtc_caller import Caller

from antiphon.engines.testing import Reply
from antiphon.server.realtime.webrtc import channels
from antiphon.server.realtime.webrtc.hearing import Hearing
from antiphon.server.realtime.webrtc.line import MAX_PARTIAL_BYTES, Line
from antiphon.server.realtime.webrtc.playout import Playout
from antiphon.server.realtime.webrtc.transport import WebRtcTransport


def test_who_hangs_up_where() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            call_id = await phone.dial(caller)
            for what in ("accept", "reject", "refer"):
                answer = await phone.http.post(f"{CALLS}/{call_id}/{what}", json={"type": "realtime"})
                assert error_of(answer) == (400, "not_a_sip_call")
            assert (await phone.hang_up(call_id)).status_code == 200
            await caller.until(lambda: caller.peer.connectionState == "closed")
            assert error_of(await phone.hang_up(call_id)) == (404, "call_not_found")
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.event("session.created")
        await phone.idle()  # the caller has hung up

    on_the_phone(talk)


def test_a_caller_who_vanishes_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.2)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)

    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.event("session.created")
            assert phone.service.sessions == 1
            for transceiver in caller.peer.getTransceivers():
                for protocol in transceiver.receiver.transport.transport.iceGatherer._connection._protocols:
                    assert protocol.transport is not None
                    protocol.transport.close()  # as if the cable was cut: nobody says goodbye
            await phone.idle(timeout_s=15)

    on_the_phone(talk)


def test_packets_of_strangers_change_nothing() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.event("session.created")
            port = int(re.findall(r"127\.0\.0\.1 (\d+) typ host", caller.peer.remoteDescription.sdp)[0])
            chance = random.Random(1)
            with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
                for n in range(600):
                    first = bytes([(0, 20, 128, 144, 255)[n % 5]])  # STUN, DTLS, RTP, RTP with an extension, nothing
                    stranger.sendto(first + chance.randbytes(chance.randrange(0, 1300)), ("127.0.0.1", port))
                    if n % 50 == 0:
                        await asyncio.sleep(0.01)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.stopped")
            assert caller.loud_s() > 0.5

    on_the_phone(talk)


def test_calls_that_come_and_go_leave_no_sockets_and_no_threads() -> None:
    async def talk(phone: Phone) -> None:
        async def one() -> None:
            async with Caller() as caller:
                await phone.dial(caller)
                await caller.event("session.created")
            await phone.idle()

        def there() -> tuple[int, int]:
            return len(os.listdir("/proc/self/fd")), threading.active_count()

        for _ in range(2):
            await one()
        before = there()
        for _ in range(8):
            await one()
        after = there()
        assert after[0] <= before[0] + 1 and after[1] <= before[1] + 1, (before, after)

    on_the_phone(talk)


def test_a_caller_who_never_comes_is_not_waited_for() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            answer = await phone.ask(await caller.offer())
            assert answer.status_code == 201 and phone.service.sessions == 1
            await phone.idle(timeout_s=5)

    on_the_phone(talk, config(server={"webrtc": {"connect_s": 0.3}}))


def test_no_more_calls_than_conversations_are_allowed() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller, Caller() as second:
            call_id = await phone.dial(caller)
            refused = await phone.ask(await second.offer())
            assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
            await phone.hang_up(call_id)
            await phone.idle()
            assert (await phone.ask(await second.offer())).status_code == 201

    on_the_phone(talk, config(server={"max_sessions": 1, "webrtc": {"connect_s": 1}}))


def test_without_a_free_port_a_call_is_refused() -> None:
    port = free_port(socket.SOCK_DGRAM)

    async def talk(phone: Phone) -> None:
        async with Caller() as caller, Caller() as second:
            call_id = await phone.dial(caller)
            assert error_of(await phone.ask(await second.offer())) == (503, "no_port")
            await phone.hang_up(call_id)
            await phone.idle()
            await phone.dial(second)
            assert str(port) in second.peer.remoteDescription.sdp

    on_the_phone(talk, config(server={"webrtc": {"ports": (port, port)}}))


def test_a_call_lasts_no_longer_than_is_allowed() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.until(lambda: caller.peer.connectionState == "closed")

    on_the_phone(talk, config(server={"max_session_s": 1.0}))


def test_rubbish_on_the_data_channel_ends_nothing() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller(("oai-events", "gossip")) as caller:
            await phone.dial(caller)
            await caller.event("session.created")
            channel = caller.channels["oai-events"]
            for rubbish in (
                b"\x00\x01",
                "",
                "{",
                "[]",
                "null",
                '{"type": "nothing"}',
                json.dumps({"type": "x" * 9999}),
            ):
                channel.send(rubbish)
            await caller.until(lambda: caller.types().count("error") == 7)
            await caller.until(lambda: caller.channels["gossip"].readyState == "closed")
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.stopped")

    on_the_phone(talk)


def test_a_flood_of_events_ends_the_call_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def is_slow(self: Any, message: str, reply: Any = None) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(channels, "MAX_UNREAD", 20)
    monkeypatch.setattr("antiphon.server.realtime.connection.RealtimeConnection.receive", is_slow)

    async def talk(phone: Phone) -> None:
        async with Caller() as caller, Caller() as other:
            await phone.dial(caller)
            await phone.dial(other)
            await caller.event("session.created")
            for _ in range(40):
                caller.send(type="response.cancel")
            await caller.until(lambda: caller.peer.connectionState == "closed")
            other.voice.say(tone(0.6))
            await other.event("output_audio_buffer.stopped")

    on_the_phone(talk)


class Channel:
    """A data channel that is open, and takes nothing."""

    readyState = "open"

    def __init__(self, longest: int = 5000) -> None:
        self.bufferedAmount = 0
        self.sent: list[str] = []
        self._longest = longest

    def send(self, text: str) -> None:
        if len(text) > self._longest:
            raise ValueError("too long")
        self.bufferedAmount += len(text)
        self.sent.append(text)


def test_events_wait_for_the_channel_but_not_without_end() -> None:
    outgoing, channel = channels.Outgoing(), Channel()
    for n in range(channels.MAX_EARLY + 10):
        outgoing.put({"type": "x", "n": n})
    outgoing.begin(channel)  # type: ignore[arg-type]
    outgoing.put({"type": "x", "n": -1})
    numbers = [json.loads(text)["n"] for text in channel.sent]
    assert numbers == [*range(10, channels.MAX_EARLY + 10), -1]


def test_a_caller_who_takes_nothing_is_noticed() -> None:
    outgoing, channel = channels.Outgoing(), Channel()
    outgoing.begin(channel)  # type: ignore[arg-type]
    while not outgoing.overflowed:
        outgoing.put({"type": "x", "text": "x" * 4000})
    assert channels.MAX_UNSENT_BYTES < channel.bufferedAmount < channels.MAX_UNSENT_BYTES + 5000
    channel.readyState = "closed"
    outgoing.put({"type": "x"})  # nobody is there any more


def test_parts_of_messages_that_never_end_are_noticed() -> None:
    async def main() -> tuple[int, bool, bool]:
        peer = RTCPeerConnection()
        peer.createDataChannel("oai-events")
        assert peer.sctp is not None
        line = Line(WebRtcTransport(), lambda channel: None)
        line._peer = peer
        before, peer.sctp._advertised_rwnd = peer.sctp._advertised_rwnd, -2 * MAX_PARTIAL_BYTES
        flooded = line.flooded
        peer.sctp._advertised_rwnd = 0
        found = before, flooded, line.flooded
        await peer.close()
        return found

    assert asyncio.run(main()) == (1 << 20, True, False)


def test_the_sound_of_items_does_not_go_over_a_channel() -> None:
    outgoing, channel = channels.Outgoing(), Channel()
    outgoing.begin(channel)  # type: ignore[arg-type]
    part = {"type": "input_audio", "transcript": "hello", "audio": "x" * 10_000}
    outgoing.put({"type": "conversation.item.retrieved", "item": {"id": "a", "type": "message", "content": [part]}})
    outgoing.put({"type": "conversation.item.retrieved", "item": {"id": "b", "type": "function_call_output"}})
    first, second = (json.loads(text)["item"] for text in channel.sent)
    assert first["content"] == [{"type": "input_audio", "transcript": "hello"}]
    assert second == {"id": "b", "type": "function_call_output"}


def test_an_event_that_is_too_long_for_the_channel_is_told_of() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            offer = (await caller.offer()).replace("a=max-message-size:262144", "a=max-message-size:5000")
            answer = await phone.ask(offer)
            await caller.accept(answer.text)
            await caller.event("session.created")
            caller.send(type="session.update", session={"type": "realtime", "instructions": "Be brief. " * 500})
            error = await caller.event("error")
            assert error["error"]["code"] == "event_too_long" and "session.updated" in error["error"]["message"]

    on_the_phone(talk)


def test_a_conversation_that_breaks_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(self: Any) -> None:
        await asyncio.sleep(0.1)
        raise RuntimeError("broken for the test")

    monkeypatch.setattr("antiphon.server.realtime.connection.RealtimeConnection.run", breaks)

    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            await caller.until(lambda: caller.peer.connectionState == "closed")

    on_the_phone(talk)


def test_what_breaks_at_one_packet_ends_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(1)

    def breaks_sometimes(made: Any) -> Any:
        def call(self: Any, given: Any) -> Any:
            if chance.random() < 0.05:
                raise RuntimeError("broken for the test")
            return made(self, given)

        return call

    monkeypatch.setattr(Hearing, "take", breaks_sometimes(Hearing.take))
    monkeypatch.setattr(Playout, "take", breaks_sometimes(Playout.take))

    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.stopped")
            assert caller.loud_s() > 0.5
            await asyncio.sleep(1)

    on_the_phone(talk)


def test_at_the_end_of_the_server_what_is_being_said_is_said() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            await phone.dial(caller)
            caller.voice.say(tone(0.6))
            await caller.event("output_audio_buffer.started")
            signal.raise_signal(signal.SIGTERM)
            await caller.until(lambda: caller.peer.connectionState == "closed")
            assert caller.loud_s() == pytest.approx(len("It is noon now, and sunny.") * 0.06, abs=0.1)

    on_the_phone(talk, config(llm=[Reply.of("It is noon now, and sunny.")]))


def test_the_peer_connection_is_the_one_that_the_line_was_made_for() -> None:
    """The line takes packets where this version of aiortc has its jitter buffer; another may have it elsewhere."""

    async def main() -> None:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        assert hasattr(receiver, "_RTCRtpReceiver__jitter_buffer")
        await peer.close()

    asyncio.run(main())
