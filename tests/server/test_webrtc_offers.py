"""What callers offer, and who may call: bad offers, bad settings, keys, pages from elsewhere. All is explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import Keys, error_of, keyed
from network_clock import run_networked
from served import config
from webrtc_call import CALLS, SDP, Phone, on_the_phone
from webrtc_caller import Caller

from antiphon.server.realtime import calls as calls_module
from antiphon.server.realtime.webrtc.faults import BadOffer
from antiphon.server.realtime.webrtc.offer import MAX_OFFER_BYTES, checked_offer


async def an_offer() -> str:
    async with Caller() as caller:
        return await caller.offer()


OFFER = run_networked(an_offer())


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


BAD_KEYS: tuple[dict[str, Any], ...] = (
    {"expires_after": {"anchor": "created_at", "seconds": 9}},
    {"expires_after": {"anchor": "created_at", "seconds": 7201}},
    {"expires_after": {"anchor": "now", "seconds": 60}},
    {"session": {"type": "video"}},
    {"session": {"type": "realtime", "audio": {"output": {"speed": 9}}}},
    {"session": []},
    {"sessions": {}},
)


def test_a_key_that_cannot_be_made_is_explained() -> None:
    async def talk(phone: Phone) -> None:
        for body in BAD_KEYS:
            answer = await phone.http.post("/v1/realtime/client_secrets", json=body)
            assert answer.status_code == 400 and answer.json()["error"]["message"], body
        session = {"type": "realtime", "instructions": "x" * 70_000}
        answer = await phone.http.post("/v1/realtime/client_secrets", json={"session": session})
        assert error_of(answer) == (413, "too_large")

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

    run_networked(main())
