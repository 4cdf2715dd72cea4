"""A client that does everything wrong, over a real WebSocket: it is told what is wrong, and nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import psutil
import pytest
from interop_desk import CONFIG
from realtime_schema import validate
from served_process import Server, served_process
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

MB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = tmp_path_factory.mktemp("fuzz") / "desk.yaml"
    path.write_text(f"{CONFIG}server: {{capacity: 'off', max_message_kb: 1024}}\n", "utf-8")
    with served_process(path) as found:
        yield found


def url(server: Server) -> str:
    return f"ws://{server.address}/v1/realtime?model=x"


async def ask(socket: ClientConnection, text: str = "What time is it?") -> str:
    """What the answer to a question says; errors may come before it, and answers to others. Refused, it asks again."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    response = {"conversation": "none", "output_modalities": ["text"], "input": [item], "metadata": {"asked": "now"}}
    question = json.dumps({"type": "response.create", "response": response, "event_id": "ask"})
    await socket.send(question)
    async with asyncio.timeout(60):
        async for message in socket:
            event = json.loads(message)
            validate(event)
            if event["type"] == "error" and event["error"]["event_id"] == "ask":  # too many are being answered
                await asyncio.sleep(0.1)
                await socket.send(question)
            if event["type"] == "response.done" and event["response"]["metadata"] == {"asked": "now"}:
                return str(event["response"]["output"][0]["content"][0]["text"]).strip()
    raise AssertionError("the connection was closed")


class Neighbour:
    """An innocent conversation beside the attack."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.answers = 0

    async def run(self) -> None:
        async with connect(url(self._server), max_size=None) as socket:
            while True:
                assert await ask(socket) == "It is noon."
                self.answers += 1
                await asyncio.sleep(0.05)


def attack(server: Server, do: Callable[[ClientConnection], Awaitable[None]], *, grows_mb: float = 60) -> None:
    """One attacker beside a neighbour, whose conversation goes on; the server's memory stays where it was."""
    process = psutil.Process(server.pid)

    async def main() -> None:
        before = process.memory_info().rss
        neighbour = Neighbour(server)
        innocent = asyncio.create_task(neighbour.run())
        async with connect(url(server), max_size=None, write_limit=MB) as socket:
            await do(socket)
        grown_mb = (process.memory_info().rss - before) / MB
        count = neighbour.answers
        async with asyncio.timeout(60):
            while neighbour.answers < count + 2:
                await asyncio.wait({innocent}, timeout=0.05)
                assert not innocent.done() or innocent.result()
        innocent.cancel()
        await asyncio.wait({innocent})
        assert grown_mb < grows_mb, f"{grown_mb:.0f} MB more"

    asyncio.run(main())


async def errors_until_answer(socket: ClientConnection) -> list[dict[str, Any]]:
    """The errors that have come by the time at which a right request is answered: the session has lived on."""
    await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "no", "event_id": "the end"}))
    found = []
    async with asyncio.timeout(60):
        async for message in socket:
            event = json.loads(message)
            validate(event)
            if event["type"] == "error":
                if event["error"]["event_id"] == "the end":
                    assert await ask(socket) == "It is noon."
                    return found
                found.append(event["error"])
    raise AssertionError("the connection was closed")


MALFORMED: list[str | bytes] = [
    "", " ", "{", "null", "[]", "[" * 5000, '{"a":' * 5000, '"x"', "1e999", '{"type": "response.create"',
    '{"type": NaN}', '{"type": "\\ud800"}', '{"n": ' + "9" * 10_000 + "}", b"", b"\0", b"\xff\xfe\x00", b"PCM" * 1000,
    "\0", "é" * 1000,
]  # fmt: skip


def test_malformed_messages(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        for message in MALFORMED:
            await socket.send(message)
        errors = await errors_until_answer(socket)
        assert len(errors) == len(MALFORMED), "one each"
        assert all(error["type"] == "invalid_request_error" and len(error["message"]) < 1000 for error in errors)

    attack(server, do)


_TEXT = [{"type": "input_text", "text": "a"}]
_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
_DETECTION = {"input": {"turn_detection": {"type": "server_vad"}}}
_ASIDE = {"output_modalities": ["text"], "conversation": "none", "input": [], "metadata": {"a": "b"}}
GOOD: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "a", "audio": _DETECTION}},
    {"type": "session.update", "session": {"tools": [_TOOL], "tool_choice": "auto"}},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(960)).decode()},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "output_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": {"type": "message", "id": "i", "role": "user", "content": _TEXT}},
    {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "o"}},
    {"type": "conversation.item.retrieve", "item_id": "i"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 1},
    {"type": "conversation.item.delete", "item_id": "i"},
    {"type": "response.create", "response": _ASIDE},
    {"type": "response.cancel", "response_id": "r"},
]
JUNK: list[Any] = [
    None, True, -1, 0, 1, 2**63, 1e300, 0.5, "", "a", "auto", "none", "inf", "\0", "é", "x" * 5000, [], [[]], [None],
    ["a"], {}, {"type": "a"}, {"a": {"a": {}}}, "audio/pcm", "semantic_vad", "realtime", "transcription", "text",
    "system", "item_reference",
]  # fmt: skip


def mutated(event: Any, chance: random.Random) -> Any:
    """A copy in which one value, anywhere, has been replaced, left out or doubled."""
    if not isinstance(event, dict) or not event or chance.random() < 0.3:
        return chance.choice(JUNK)
    key = chance.choice(sorted(event))
    match chance.randrange(8):
        case 0:
            return {name: value for name, value in event.items() if name != key}
        case 1:
            return {**event, chance.choice(["x", "id", "type", "voice", "event_id"]): chance.choice(JUNK)}
        case 2:
            return {**event, key: [event[key]] * 3}
        case _:
            inner = event[key][0] if isinstance(event[key], list) and event[key] else event[key]
            changed = mutated(inner, chance)
            return {**event, key: [changed] if isinstance(event[key], list) else changed}


@pytest.mark.parametrize("seed", range(4))
def test_wrong_types_and_any_order(server: Server, seed: int) -> None:
    chance = random.Random(seed)

    async def do(socket: ClientConnection) -> None:
        for number in range(150):
            event = chance.choice(GOOD) if number % 3 == 0 else mutated(chance.choice(GOOD), chance)
            await socket.send(json.dumps(event))
        restored = {"type": "realtime", "instructions": "", "tools": [], "tool_choice": "auto"}
        await socket.send(json.dumps({"type": "session.update", "session": restored}))
        errors = await errors_until_answer(socket)
        assert len(errors) > 30

    attack(server, do)


def test_an_event_that_is_too_long_ends_its_own_connection(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (2 * MB)}))
        with pytest.raises(ConnectionClosed) as caught:
            async for _ in socket:
                pass
            raise ConnectionClosed(None, None)
        assert caught.value.rcvd is None or caught.value.rcvd.code == 1009

    attack(server, do)


def test_a_flood_whose_answers_nobody_reads(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        socket.transport.pause_reading()
        sent = 0
        with pytest.raises(TimeoutError):  # at some point nothing more is taken
            async with asyncio.timeout(3):
                while True:
                    await socket.send(json.dumps({"type": "dance", "event_id": "e" * 400}))
                    sent += 1
        assert sent > 500
        socket.transport.abort()

    attack(server, do)


def test_a_flood_of_audio_that_is_never_committed(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await socket.send(json.dumps({"type": "session.update", "session": manual}))
        chunk = json.dumps({"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(MB // 2)).decode()})
        for _ in range(50):  # 25 MB: nine minutes
            await socket.send(chunk)
        errors = await errors_until_answer(socket)
        assert errors, "at some point it is refused"
        assert {error["code"] for error in errors} != {None}

    attack(server, do)


def test_a_flood_of_long_items(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        content = [{"type": "input_text", "text": "word " * 39_000}]
        event = json.dumps(
            {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
        )
        reading = asyncio.create_task(_drain(socket))
        for _ in range(150):  # 29 MB
            await socket.send(event)
        await socket.send(json.dumps({"type": "conversation.item.retrieve", "item_id": "no", "event_id": "the end"}))
        assert await reading, "at some point one is refused"

    attack(server, do)


async def _drain(socket: ClientConnection) -> int:
    """How many errors come before the last one."""
    errors = 0
    async with asyncio.timeout(60):
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "error":
                if event["error"]["event_id"] == "the end":
                    return errors
                errors += 1
    raise AssertionError("the connection was closed")


def test_a_flood_of_requests_for_answers(server: Server) -> None:
    async def do(socket: ClientConnection) -> None:
        for number in range(300):
            kind = "none" if number % 2 else "auto"
            await socket.send(
                json.dumps({"type": "response.create", "response": {"conversation": kind}, "event_id": str(number)})
            )
        errors = await errors_until_answer(socket)
        assert len(errors) > 100, "what is too much is refused, one by one"
        assert all(error["event_id"].isdigit() for error in errors)

    attack(server, do)
