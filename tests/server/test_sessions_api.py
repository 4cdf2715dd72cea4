"""The conversations under way: looked at, changed, ended."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest
from network_clock import run_networked
from served import config, serving
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from antiphon.engines.testing import Reply

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(320)) * 32767).astype("<i2").tobytes()


async def ask(url: str, method: str = "GET", body: Any = None) -> tuple[int, dict[str, Any]]:
    def send() -> tuple[int, dict[str, Any]]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return await asyncio.to_thread(send)


async def speak(client: ClientConnection, seconds: float, *, loud: bool = True) -> None:
    for _ in range(round(seconds / 0.02)):
        await asyncio.sleep(0.02)
        await client.send(TONE if loud else bytes(640))


async def begun(address: str) -> list[dict[str, Any]]:
    """The sessions, once there is one."""
    async with asyncio.timeout(60):
        while not (found := (await ask(f"http://{address}/v1/sessions"))[1]["data"]):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def test_they_are_listed_without_a_word_of_what_was_said() -> None:
    async def main() -> None:
        async with serving(config()) as (address, service):
            assert await ask(f"http://{address}/v1/sessions") == (200, {"object": "list", "data": []})
            async with connect(f"ws://{address}/v1/stream") as client:
                await speak(client, 0.6)
                await speak(client, 1.6, loud=False)
                (one,) = await begun(address)
                assert one["id"].startswith("sess_") and one["protocol"] == "stream" and one["key"] == ""
                assert one["turns"] == 1 and one["waiting"] is False and 1 < one["age_s"] < 30
                assert one["address"] == "127.0.0.1" and one["used"]["stt_audio_s"] > 0
                assert "noon" not in json.dumps(one)
            async with asyncio.timeout(60):
                while service.sessions:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert (await ask(f"http://{address}/v1/sessions"))[1]["data"] == []

    run_networked(main())


def test_when_silence_ends_a_turn_can_be_changed_in_a_live_conversation() -> None:
    async def main() -> None:
        async with serving(config()) as (address, service):
            async with connect(f"ws://{address}/v1/stream") as client:
                await speak(client, 0.1, loud=False)
                (one,) = await begun(address)
                url = f"http://{address}/v1/sessions/{one['id']}"
                ((session, _),) = next(iter(service.talks)).sessions.values()
                assert (await ask(url, "PATCH", {"turn": {"silence_ms": 1500}}))[0] == 200
                assert (session.policy.silence_ms, session.policy.max_silence_ms) == (1500, 1500)
                assert (await ask(url, "PATCH", {"turn": {"preset": "careful", "max_silence_ms": 3000}}))[0] == 200
                assert (session.policy.silence_ms, session.policy.max_silence_ms) == (1000, 3000)
                await speak(client, 0.6)
                await speak(client, 2.6, loud=False)
                assert (await begun(address))[0]["turns"] == 1, "it goes on with the new policy"

    run_networked(main())


@pytest.mark.parametrize(
    "change",
    [{}, {"turn": {"preset": "soon"}}, {"turn": {"silence_ms": -1}}, {"turn": {}, "more": 1}, {"turn": {"colour": 1}},
     {"turn": {"max_silence_ms": 100}}, [], {"turn": {"silence_ms": "NaN"}}],
)  # fmt: skip
def test_a_change_that_cannot_be_is_refused(change: Any) -> None:
    async def main() -> None:
        async with serving(config()) as (address, _):
            async with connect(f"ws://{address}/v1/stream") as client:
                await client.send(bytes(640))
                (one,) = await begun(address)
                status, body = await ask(f"http://{address}/v1/sessions/{one['id']}", "PATCH", change)
                assert (status, body["error"]["code"]) == (400, "invalid_request")

    run_networked(main())


def test_a_conversation_is_ended_in_order() -> None:
    async def main() -> None:
        text = "One two three four five."
        async with serving(config(llm=[Reply.of(text)])) as (address, _):
            async with connect(f"ws://{address}/v1/stream") as client:
                await speak(client, 0.6)
                await speak(client, 0.8, loud=False)
                (one,) = await begun(address)
                status, body = await ask(f"http://{address}/v1/sessions/{one['id']}", "DELETE")
                assert (status, body["id"]) == (202, one["id"])
                said: list[str] = []
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(60):
                        while True:
                            message = await client.recv()
                            if isinstance(message, str):
                                said.append(json.loads(message)["text"])
                assert said[-1] == text and closed.value.rcvd is not None and closed.value.rcvd.code == 1000

    run_networked(main())


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_one_that_is_not_there_is_told(method: str) -> None:
    async def main() -> None:
        async with serving(config()) as (address, _):
            body = {"turn": {}} if method == "PATCH" else None
            status, answer = await ask(f"http://{address}/v1/sessions/sess_none", method, body)
            assert (status, answer["error"]["code"]) == (404, "session_not_found")

    run_networked(main())
