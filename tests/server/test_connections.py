"""Connections that send nothing, take nothing, send too much, or are too many. On sockets of this machine."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from keyed import Keys, Server, bearer, keyed
from network_clock import run_networked, until
from websockets.asyncio.client import connect

UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def _long_update() -> bytes:
    """A message to Realtime, masked with zeros, that is answered with one as long."""
    update = {"type": "session.update", "session": {"type": "realtime", "instructions": "x" * 190_000}}
    message = json.dumps(update).encode()
    return b"\x81\xff" + len(message).to_bytes(8, "big") + bytes(4) + message


LONG_UPDATE = _long_update()


@asynccontextmanager
async def raw(server: Server, *, receive_bytes: int | None = None) -> AsyncIterator[Any]:
    """A connection of bytes; with a small window for what the server sends, if asked for."""
    host, _, port = server.address.rpartition(":")
    plain = socket.socket()
    if receive_bytes is not None:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024 if receive_bytes else 1 << 16)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def end_of(reader: asyncio.StreamReader, within_s: float = 60) -> bytes:
    """What is received until the server closes."""
    async with asyncio.timeout(within_s):
        try:
            return await reader.read(-1)
        except ConnectionError:
            return b""


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A WebSocket frame of a client."""
    head = bytes([opcode | (0x80 if final else 0)])
    size = len(payload)
    head += bytes([0x80 | size]) if size < 126 else bytes([0x80 | 126]) + struct.pack("!H", size)
    return head + bytes(4) + payload  # a mask of zeros


async def upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str = "/v1/stream") -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: loc",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /he",  # after an answer, half a request
        b"P",
    ],
)
def test_half_a_request_is_waited_for_so_long_and_no_longer(sent: bytes) -> None:
    async def main() -> None:
        async with keyed(settings={"request_head_s": 0.3}) as server, raw(server) as (reader, writer):
            writer.write(sent)
            began = asyncio.get_running_loop().time()
            received = await end_of(reader)
            assert asyncio.get_running_loop().time() - began >= 0.25
            assert received.count(b"200 OK") == (b"\r\n\r\n" in sent)
            assert (await server.get("/healthz")).status_code == 200

    run_networked(main())


def test_a_head_that_trickles_in_is_not_waited_for_either() -> None:
    async def main() -> None:
        async with keyed(settings={"request_head_s": 0.4}) as server, raw(server) as (reader, writer):

            async def trickle() -> None:
                writer.write(b"GET /healthz HTTP/1.1\r\n")
                while True:
                    writer.write(b"X-A: b\r\n")
                    await asyncio.sleep(0.05)

            trickling = asyncio.create_task(trickle())
            assert await end_of(reader) == b""
            trickling.cancel()

    run_networked(main())


def test_a_refused_upload_that_goes_on_for_ever_is_cut_off(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"request_head_s": 0.4}) as server, raw(server) as (reader, writer):
            writer.write(b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90000000\r\n\r\n")
            assert (await reader.readline()).split()[1] == b"401"

            async def more() -> None:
                while True:
                    writer.write(bytes(1000))
                    await asyncio.sleep(0.01)

            sending = asyncio.create_task(more())
            await end_of(reader)
            sending.cancel()

    run_networked(main())


def test_a_body_that_takes_too_long_or_is_too_long_is_refused() -> None:
    async def answer(server: Server, head: str, body: bytes = b"") -> tuple[bytes, dict[str, Any]]:
        async with raw(server) as (reader, writer):
            writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode() + body)
            async with asyncio.timeout(60):
                status = (await reader.readline()).split()[1]
                headers = await reader.readuntil(b"\r\n\r\n")
                length = int(headers.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                return status, json.loads(await reader.readexactly(length))["error"]

    async def main() -> None:
        async with keyed(settings={"upload_s": 0.3, "max_upload_mb": 1}) as server:
            json_type = "Content-Type: application/json"
            status, error = await answer(server, f"{json_type}\r\nContent-Length: 100", b"{")
            assert status == b"408" and "did not arrive within 0.3 s" in error["message"]
            status, error = await answer(server, f"{json_type}\r\nTransfer-Encoding: chunked", b"1\r\n{\r\n")
            assert status == b"408"
            status, error = await answer(server, f"{json_type}\r\nContent-Length: 1000001", b"{")
            assert (status, error["code"]) == (b"413", "too_large")
            chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n"
            status, error = await answer(server, f"{json_type}\r\nTransfer-Encoding: chunked", chunk * 5)
            assert (status, error["code"]) == (b"413", "too_large")

    run_networked(main())


def test_a_head_that_is_too_long_is_refused() -> None:
    async def main() -> None:
        async with keyed(settings={"max_header_kb": 4, "request_head_s": 0.5}) as server:
            for line in (f"X-Long: {'a' * 5000}", "\r\n".join(f"X-{n}: {'b' * 20}" for n in range(200))):
                async with raw(server) as (reader, writer):
                    writer.write(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n".encode())
                    assert (await end_of(reader)).split()[1] in (b"400", b"431")
            assert (await server.get("/healthz")).status_code == 200

    run_networked(main())


@pytest.mark.parametrize(
    "head",
    [
        f"X-Long: {'a' * 9000}\r\n",
        "".join(f"X-{n}: b\r\n" for n in range(300)),
        "Sec-WebSocket-Protocol: \xff\xfe\r\n",
        "Sec-WebSocket-Protocol: ,,,\r\n",
    ],
)
def test_a_websocket_with_a_head_that_its_library_refuses_is_closed_without_noise(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with keyed(settings={"max_connections": 5}) as server:
            for _ in range(8):  # more than there may be connections: none of them stays
                async with raw(server) as (reader, writer):
                    writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{head}{UPGRADE}\r\n".encode("latin-1"))
                    assert (await end_of(reader)).startswith(b"HTTP/1.1 400")
            async with connect(f"ws://{server.address}/v1/stream"):
                pass

    run_networked(main())
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_connections_are_counted() -> None:
    async def main() -> None:
        async with keyed(settings={"max_connections": 4}) as server:
            async with raw(server), raw(server), raw(server), raw(server):
                async with raw(server) as (reader, _):
                    assert (await end_of(reader)).startswith(b"HTTP/1.1 503")
            await asyncio.sleep(0.1)
            assert (await server.get("/healthz")).status_code == 200

    run_networked(main())


def test_a_client_that_takes_nothing_of_a_long_answer_is_cut_off() -> None:
    """Pipelined requests whose answers nobody reads: the server must not wait for ever, nor keep them all."""

    async def main() -> None:
        async with keyed(settings={"slow_client_s": 0.4}) as server:
            async with raw(server, receive_bytes=2048) as (reader, writer):
                request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
                writer.write(request * 3000)
                await asyncio.sleep(1.5)
                received = await end_of(reader)  # what was on its way
                assert received.count(b"200 OK") < 3000

    run_networked(main())


def test_a_conversation_whose_client_takes_nothing_gives_its_place_back() -> None:
    async def main() -> None:
        async with keyed(settings={"slow_client_s": 0.4, "max_sessions": 1}) as server:
            async with raw(server, receive_bytes=2048) as (reader, writer):
                await upgraded(reader, writer, "/v1/realtime")
                reader._transport.pause_reading()
                assert server.service.sessions == 1
                writer.write(LONG_UPDATE * 100)  # each of them is answered at length, which nobody takes
                await until(lambda: server.service.sessions == 0)
            async with connect(f"ws://{server.address}/v1/stream"):
                assert server.service.sessions == 1

    run_networked(main())


def test_who_is_gone_while_nothing_of_theirs_is_read_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Long answers wait, so the client is not read on; then it resets the connection."""

    async def main() -> None:
        async with keyed(settings={"slow_client_s": 60}) as server:
            async with raw(server, receive_bytes=2048) as (reader, writer):
                await upgraded(reader, writer, "/v1/realtime")
                reader._transport.pause_reading()
                writer.write(LONG_UPDATE * 60)
                await asyncio.sleep(1.0)
            await until(lambda: server.service.sessions == 0)

    run_networked(main())
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_pings_that_are_answered_to_nobody_do_not_pile_up() -> None:
    async def main() -> None:
        async with keyed(settings={"slow_client_s": 60}) as server:
            async with raw(server, receive_bytes=2048) as (reader, writer):
                await upgraded(reader, writer)
                reader._transport.pause_reading()
                pings = frame(9, b"p" * 125) * 4000
                async with asyncio.timeout(60):
                    while server.service.sessions:
                        writer.write(pings)
                        await asyncio.sleep(0.001)
                        if writer.transport.is_closing():
                            break
                await until(lambda: server.service.sessions == 0)

    run_networked(main())


def test_frames_that_are_no_messages_end_the_conversation_with_a_code() -> None:
    async def closed_with(server: Server, *frames: bytes) -> int:
        async with raw(server) as (reader, writer):
            await upgraded(reader, writer)
            writer.write(b"".join(frames))
            data = await end_of(reader)
            at = data.rfind(b"\x88")
            return int.from_bytes(data[at + 2 : at + 4], "big")

    async def main() -> None:
        async with keyed(settings={"max_message_kb": 1, "stall_s": 5.0}) as server:
            text = frame(1, b"\xff\xfe")
            assert await closed_with(server, text) == 1007, "no UTF-8"
            pieces = [frame(2, bytes(600), final=False), *[frame(0, bytes(600), final=False)] * 3]
            assert await closed_with(server, *pieces) == 1009, "too long, in pieces"
            assert await closed_with(server, frame(3, b"")) == 1002, "no such frame"
            assert await closed_with(server, frame(0, b"")) == 1002, "the rest of nothing"
            await until(lambda: server.service.sessions == 0)

    run_networked(main())


def test_a_message_of_endless_pieces_is_cut_off() -> None:
    """Where silence is no reason to hang up (Realtime), empty pieces would fill the memory for an hour."""

    async def main() -> None:
        async with keyed() as server, raw(server) as (reader, writer):
            await upgraded(reader, writer, "/v1/realtime")
            writer.write(frame(2, b"", final=False) + frame(0, b"", final=False) * 10_000)
            await end_of(reader)
            await until(lambda: server.service.sessions == 0)

    run_networked(main())


def test_nothing_but_pieces_of_a_message_is_silence() -> None:
    """Empty pieces of a message that never ends: the client is taken for stalled, as if it had sent nothing."""

    async def main() -> None:
        async with keyed(settings={"stall_s": 0.4}) as server, raw(server) as (reader, writer):
            await upgraded(reader, writer)
            writer.write(frame(2, b"", final=False))

            async def more() -> None:
                while not writer.transport.is_closing():
                    writer.write(frame(0, b"", final=False) * 10)
                    await asyncio.sleep(0.01)

            sending = asyncio.create_task(more())
            async with asyncio.timeout(60):
                await reader.readuntil(b"nothing was received for 0.4 s")
            sending.cancel()
            await until(lambda: server.service.sessions == 0)

    run_networked(main())


def test_who_goes_in_the_middle_of_a_body_is_no_error(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"

    async def main() -> None:
        async with keyed(settings={"audit_log": log}) as server:
            for kind in ("application/json", "multipart/form-data; boundary=x"):
                async with raw(server) as (_, writer):
                    head = f"Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: 100"
                    writer.write(f"POST /v1/realtime/calls HTTP/1.1\r\n{head}\r\n\r\n--x\r\n".encode())
                    await writer.drain()
                    await asyncio.sleep(0.05)
            await until(lambda: '"status": 499' in log.read_text())

    run_networked(main())
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_hundreds_that_come_and_go_leave_no_connection_and_no_task() -> None:
    async def main() -> None:
        async with keyed(settings={"max_sessions": 100, "capacity": "off"}) as server:
            before = len(asyncio.all_tasks())
            for round_ in range(10):
                async with asyncio.TaskGroup() as group:
                    for number in range(20):
                        group.create_task(come_and_go(server, number + round_))
            await until(lambda: server.service.sessions == 0)
            await until(lambda: len(asyncio.all_tasks()) <= before + 2)
            assert not server.service.access._held and not server.service.access._begun

    async def come_and_go(server: Server, number: int) -> None:
        async with raw(server) as (reader, writer):
            if number % 4 == 0:
                return
            if number % 4 == 1:
                writer.write(b"GET / HT")
                return
            await upgraded(reader, writer)
            if number % 4 == 2:
                writer.write(frame(2, bytes(640)))

    run_networked(main())


def test_a_flood_of_wrong_keys_does_not_stop_the_right_one(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    token = keys.make("desk")

    async def main() -> None:
        async with keyed(keys, {"audit_log": tmp_path / "audit.jsonl"}) as server:
            assert (await server.get("/v1/models", token)).status_code == 200
            seen: set[int] = set()

            async def flood() -> None:
                while True:
                    seen.add((await server.get("/v1/models", "wrong")).status_code)

            flooding = [asyncio.create_task(flood()) for _ in range(8)]
            for _ in range(20):
                assert (await server.get("/v1/models", token)).status_code == 200
            async with connect(f"ws://{server.address}/v1/stream", additional_headers=bearer(token)):
                pass
            for task in flooding:
                task.cancel()
            await asyncio.wait(flooding)
            assert seen == {401, 429}

    run_networked(main())
