"""What goes wrong with calls: bad offers, dead peers, floods, limits. Answered, bounded, cleaned up."""

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
from pathlib import Path
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCPeerConnection
from hypothesis import given
from hypothesis import strategies as st
from keyed import Keys, error_of, keyed
from served import config
from webrtc_call import CALLS, SDP, Phone, on_the_phone, tone
from webrtc_caller import Caller

from antiphon.engines.testing import Reply
from antiphon.server.realtime import calls as calls_module
from antiphon.server.realtime.webrtc import channels
from antiphon.server.realtime.webrtc.faults import BadOffer
from antiphon.server.realtime.webrtc.line import MAX_PARTIAL_BYTES, Line
from antiphon.server.realtime.webrtc.offer import MAX_OFFER_BYTES, checked_offer
from antiphon.server.realtime.webrtc.transport import WebRtcTransport


async def an_offer() -> str:
    async with Caller() as caller:
        return await caller.offer()


OFFER = asyncio.run(an_offer())


def without(*starts: str) -> str:
    return "".join(line for line in OFFER.splitlines(keepends=True) if not line.startswith(starts))


BAD_OFFERS = {
    "empty": ("", "no SDP"),
    "no SDP": ("hello", "no SDP"),
    "a browser's object": ('{"type": "offer", "sdp": "v=0"}', "no SDP"),
    "no sections": (OFFER[: OFFER.index("m=audio")], "0 sections for audio"),
    "events only": (OFFER[: OFFER.index("m=audio")] + OFFER[OFFER.index("m=application") :], "0 sections for audio"),
    "video": (OFFER.replace("m=audio", "m=video"), "0 sections for audio"),
    "two voices": (OFFER + OFFER[OFFER.index("m=audio") : OFFER.index("m=application")], "2 sections for audio"),
    "no Opus": (OFFER.replace("opus/48000/2", "speex/16000"), "Opus"),
    "no fingerprint": (without("a=fingerprint"), "fingerprint"),
    "no ICE": (without("a=ice-ufrag"), "ice-ufrag"),
    "a deaf caller": (OFFER.replace("a=sendrecv", "a=sendonly"), "would hear nothing"),
    "a broken line": (OFFER.replace("a=rtpmap:96 ", "a=rtpmap:many "), "cannot be read"),
    "too long": (OFFER + "a=x:" + "x" * MAX_OFFER_BYTES, "allowed"),
    "too many candidates": (OFFER + "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n" * 100, "candidates"),
}


@pytest.mark.parametrize("name", [name for name in BAD_OFFERS if name != "too many candidates"])
def test_an_offer_that_cannot_be_used_is_explained(name: str) -> None:
    offer, said = BAD_OFFERS[name]
    with pytest.raises(BadOffer, match=said):
        checked_offer(offer)


def test_a_callers_own_addresses_are_left_out_unless_a_relay_needs_them() -> None:
    offer = OFFER + "a=candidate:1 1 udp 1 2f1c.local 9 typ host\r\na=candidate:2 1 udp 1 127.0.0.1 9 typ host\r\n"
    assert "a=candidate" not in checked_offer(offer) and "a=end-of-candidates" not in checked_offer(offer)
    reaching = checked_offer(offer, reaching_out=True)
    assert "127.0.0.1 9 typ host" in reaching and ".local" not in reaching
    with pytest.raises(BadOffer, match="candidates"):
        checked_offer(BAD_OFFERS["too many candidates"][0], reaching_out=True)


@given(st.integers(0, len(OFFER) - 1), st.text(max_size=5), st.integers(0, 30))
def test_an_offer_with_an_error_in_it_is_read_or_explained(at: int, put: str, cut: int) -> None:
    try:
        assert checked_offer(OFFER[:at] + put + OFFER[at + cut :]).startswith("v=")
    except BadOffer as error:
        assert str(error)


def test_bad_requests_are_answered_and_leave_nothing() -> None:
    async def talk(phone: Phone) -> None:
        for name, (offer, said) in BAD_OFFERS.items():
            if name != "too many candidates":  # which are not looked at
                answer = await phone.ask(offer)
                assert error_of(answer) == (400, "invalid_offer"), name
                assert said in answer.json()["error"]["message"]
        http = phone.http
        assert error_of(await http.post(CALLS, json={"sdp": OFFER})) == (415, "unsupported_media_type")
        assert error_of(await http.post(CALLS, content=OFFER)) == (415, "unsupported_media_type")
        assert error_of(await http.post(CALLS, content=b"\xff\xfe", headers=SDP)) == (400, "invalid_sdp")
        assert error_of(await http.post(CALLS, files={"session": (None, "{}")})) == (400, "missing_sdp")
        for session, code in (
            ("{", "invalid_json"),
            ("[]", "invalid_json"),
            ('{"type": "realtime", "speed": 3}', None),
        ):
            answer = await phone.ask(OFFER, session=session)
            assert answer.status_code == 400 and code in (None, error_of(answer)[1]), answer.text
        voice = json.dumps({"type": "realtime", "audio": {"output": {"speed": 9}}})
        assert (await phone.ask(OFFER, session=voice)).status_code == 400
        assert phone.service.sessions == 0

    on_the_phone(talk)


@pytest.mark.parametrize(
    "body",
    [
        {"expires_after": {"anchor": "created_at", "seconds": 9}},
        {"expires_after": {"anchor": "created_at", "seconds": 7201}},
        {"expires_after": {"anchor": "now", "seconds": 60}},
        {"session": {"type": "video"}},
        {"session": {"type": "realtime", "audio": {"output": {"speed": 9}}}},
        {"session": []},
        {"sessions": {}},
    ],
)
def test_a_key_that_cannot_be_made_is_explained(body: dict[str, Any]) -> None:
    async def talk(phone: Phone) -> None:
        answer = await phone.http.post("/v1/realtime/client_secrets", json=body)
        assert answer.status_code == 400 and answer.json()["error"]["message"]

    on_the_phone(talk)


def test_the_settings_of_a_key_are_bounded() -> None:
    async def talk(phone: Phone) -> None:
        session = {"type": "realtime", "instructions": "x" * 70_000}
        answer = await phone.http.post("/v1/realtime/client_secrets", json={"session": session})
        assert error_of(answer) == (413, "too_large")

    on_the_phone(talk)


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
        answer = await phone.ask(OFFER)
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
    async def talk(phone: Phone) -> None:
        async with Caller() as caller, Caller() as second:
            call_id = await phone.dial(caller)
            assert error_of(await phone.ask(await second.offer())) == (503, "no_port")
            await phone.hang_up(call_id)
            await phone.idle()
            await phone.dial(second)
            assert "50617" in second.peer.remoteDescription.sdp

    on_the_phone(talk, config(server={"webrtc": {"ports": (50617, 50617)}}))


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


def test_without_aiortc_there_are_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'aiortc'", name="aiortc")

    monkeypatch.setattr(calls_module, "import_module", missing)

    async def talk(phone: Phone) -> None:
        answer = await phone.ask(OFFER)
        assert error_of(answer) == (501, "webrtc_unavailable")
        assert "antiphon[webrtc]" in answer.json()["error"]["message"]

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


def test_pages_from_elsewhere_may_call_where_that_is_allowed() -> None:
    async def talk(phone: Phone) -> None:
        asks = {"Access-Control-Request-Method": "POST"}
        asks["Access-Control-Request-Headers"] = "authorization,content-type,x-openai-agents-sdk"
        allowed = await phone.http.options(CALLS, headers={"Origin": "https://desk.example", **asks})
        assert allowed.status_code == 200
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://desk.example"
        assert "x-openai-agents-sdk" in allowed.headers["Access-Control-Allow-Headers"].lower()
        foreign = await phone.http.options(CALLS, headers={"Origin": "https://evil.example", **asks})
        assert "Access-Control-Allow-Origin" not in foreign.headers
        async with Caller() as caller:
            headers = {**SDP, "Origin": "https://desk.example"}
            answer = await phone.http.post(CALLS, content=await caller.offer(), headers=headers)
            assert answer.status_code == 201
            assert "Location" in answer.headers["Access-Control-Expose-Headers"]
            await phone.hang_up(answer.headers["Location"].rpartition("/")[2])
            refused = await phone.http.post(CALLS, content=OFFER, headers={**SDP, "Origin": "https://evil.example"})
            assert refused.status_code == 403

    on_the_phone(talk, config(server={"allowed_origins": ("https://desk.example",)}))


def test_keys_of_calls(tmp_path: Path) -> None:
    """An ephemeral key calls and does nothing else, until it runs out; a call is its key's alone."""
    keys = Keys(tmp_path / "keys.json")
    desk, other = keys.make("desk", "realtime", "audio"), keys.make("other", "realtime")

    async def main() -> None:
        async with keyed(keys, {"webrtc": {"connect_s": 5}}) as server:

            async def post(path: str, token: str | None, **more: Any) -> Any:
                headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
                return await server.client.post(path, headers=headers, **more)

            assert (await post("/v1/realtime/client_secrets", None, json={})).status_code == 401
            ephemeral = (await post("/v1/realtime/client_secrets", desk, json={})).json()["value"]
            assert (await post("/v1/realtime/client_secrets", ephemeral, json={})).status_code == 403
            assert (await post("/v1/audio/speech", ephemeral, json={"input": "x", "model": "m"})).status_code == 403
            assert (await post(CALLS, ephemeral + "x", content=OFFER, headers=SDP)).status_code == 401
            begun = await post(CALLS, ephemeral, content=OFFER, headers=SDP)
            assert begun.status_code == 201, begun.text
            path = begun.headers["Location"] + "/hangup"
            assert (await post(path, other)).status_code == 404, "a stranger does not even learn that it is there"
            assert (await post(path, desk)).status_code == 200

    asyncio.run(main())


def test_the_peer_connection_is_the_one_that_the_line_was_made_for() -> None:
    """The line takes packets where this version of aiortc has its jitter buffer; another may have it elsewhere."""

    async def main() -> None:
        peer = RTCPeerConnection()
        receiver = peer.addTransceiver("audio").receiver
        assert hasattr(receiver, "_RTCRtpReceiver__jitter_buffer")
        await peer.close()

    asyncio.run(main())
