"""The server on a socket of this machine: real clients, real time, scripted engines."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from network_clock import run_networked
from scripted_engines import write_config
from served import config, serving
from talk import RATE_HZ, TONE, ask, speak
from typer.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from antiphon.engines.errors import EngineFailed
from antiphon.engines.testing import Reply, ScriptedTTS
from antiphon.pipeline.cli import app
from antiphon.pipeline.config.model import ServerConfig
from antiphon.pipeline.errors import ConfigError
from antiphon.server.service import Service
from antiphon.server.serving import listen, serve

READY = {"status": "ready", "sessions": 0, "last_configuration": "taken"}
EXAMPLE = Path(__file__).parents[2] / "examples" / "stream_client.py"
SUPPORT = Path(__file__).parents[1] / "support"


async def nobody_left(service: Service) -> None:
    """A client knows that its connection is closed a moment before the server has put it away."""
    async with asyncio.timeout(60):
        while service.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def fetch(url: str, **headers: str) -> tuple[int, dict[str, Any], str | None]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            return response.status, json.loads(response.read()), response.headers.get("Retry-After")
    except urllib.error.HTTPError as error:
        body = error.read()
        known = json.loads(body) if body[:1] == b"{" else {"text": body.decode()}
        return error.code, known, error.headers.get("Retry-After")


async def refused(address: str, path: str = "/v1/stream", **arguments: Any) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"ws://{address}{path}", **arguments):
            pass
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}")


def test_a_conversation_over_a_socket() -> None:
    async def main() -> None:
        async with serving(config()) as (address, service), connect(f"ws://{address}/v1/stream") as client:
            messages, audio = await ask(client)
            assert [(one["role"], one["text"]) for one in messages if one["final"]] == [
                ("user", "what time is it"),
                ("agent", "It is noon."),
            ]
            assert len(audio) / 2 / RATE_HZ == pytest.approx(0.66, rel=0.05)
            assert service.sessions == 1

    run_networked(main())


def test_health_and_readiness_while_the_engines_load_and_after() -> None:
    async def main() -> None:
        given = config({"max_sessions": 1}, tts=ScriptedTTS(load_s=1.0))
        listener = listen(given.server)
        url = "http://{}:{}".format(*listener.getsockname()[:2])
        ready = asyncio.Event()
        task = asyncio.create_task(serve(given, listener, on_ready=lambda _: ready.set()))
        assert (await asyncio.to_thread(fetch, f"{url}/healthz"))[:2] == (200, {"status": "ok"})
        status, body, retry = await asyncio.to_thread(fetch, f"{url}/readyz")
        assert (status, body["error"]["code"], retry) == (503, "loading", "5")
        await ready.wait()
        assert (await asyncio.to_thread(fetch, f"{url}/readyz"))[:2] == (200, READY)
        async with connect(url.replace("http", "ws") + "/v1/stream"):
            status, body, retry = await asyncio.to_thread(fetch, f"{url}/readyz")
            assert (status, body["error"]["code"], retry) == (503, "full", "10")
            status, body = await refused(url.removeprefix("http://"))
            assert (status, body["error"]["code"]) == (503, "full")
        signal.raise_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await task

    run_networked(main())


def test_an_engine_that_does_not_load_ends_the_server_with_its_error() -> None:
    async def main() -> None:
        broken = ScriptedTTS(load_errors=[EngineFailed("the voice is broken")])
        with pytest.raises(EngineFailed, match="the voice is broken"):
            async with serving(config(tts=broken)):
                pass

    run_networked(main())


def test_a_signal_lets_what_is_being_said_be_said() -> None:
    async def main() -> None:
        text = "One two three four five six."
        async with serving(config(llm=[Reply.of(text)])) as (address, service):
            async with connect(f"ws://{address}/v1/stream") as client:
                await speak(client, 0.6)
                await speak(client, 0.7, loud=False)
                signal.raise_signal(signal.SIGTERM)
                seen: list[Any] = []
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(60):
                        while True:
                            seen.append(await client.recv())
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001
            words = [json.loads(one) for one in seen if isinstance(one, str)]
            assert words[-1]["text"] == text
            assert sum(len(one) for one in seen if isinstance(one, bytes)) / 2 / RATE_HZ > 1.5
            assert service.draining and service.sessions == 0

    run_networked(main())


def test_pages_of_other_sites_and_other_names_are_turned_away() -> None:
    async def main() -> None:
        given = config({"allowed_origins": ("https://desk.example",), "allowed_hosts": ("voice.example",)})
        async with serving(given) as (address, _):
            status, body = await refused(address, origin="https://evil.example")
            assert (status, body["error"]["code"]) == (403, "origin")
            assert "https://evil.example" in body["error"]["message"]
            for origin in ("https://desk.example", f"http://{address}"):
                async with connect(f"ws://{address}/v1/stream", origin=origin):  # type: ignore[arg-type]
                    pass
            url = f"http://{address}/healthz"
            assert (await asyncio.to_thread(lambda: fetch(url, Host="evil.example")))[0] == 400
            assert (await asyncio.to_thread(lambda: fetch(url, Host="voice.example")))[0] == 200

    run_networked(main())


@pytest.mark.parametrize("rate", ["0", "7999", "48001", "16k", "", "1e4", "-16000"])
def test_a_rate_that_cannot_be_is_refused(rate: str) -> None:
    async def main() -> None:
        async with serving(config()) as (address, _):
            status, body = await refused(address, f"/v1/stream?sample_rate={rate}")
            assert (status, body["error"]["code"]) == (400, "sample_rate")

    run_networked(main())


def test_limits_of_length_size_and_silence() -> None:
    async def closed(address: str, message: bytes | None = None) -> tuple[int, str]:
        async with connect(f"ws://{address}/v1/stream") as client:
            if message is not None:
                await client.send(message)
            with pytest.raises(ConnectionClosed) as caught:
                async with asyncio.timeout(60):
                    while True:
                        await client.recv()
            assert caught.value.rcvd is not None
            return caught.value.rcvd.code, caught.value.rcvd.reason

    async def main() -> None:
        async with serving(config({"stall_s": 0.2, "max_message_kb": 1})) as (address, service):
            assert await closed(address) == (1008, "nothing was received for 0.2 s")
            assert (await closed(address, bytes(2000)))[0] == 1009
            await nobody_left(service)
        async with serving(config({"max_session_s": 0.3})) as (address, service):
            assert await closed(address, bytes(640)) == (1008, "a conversation may last 0.3 s")

    run_networked(main())


def test_clients_that_come_and_go_leave_nothing_behind() -> None:
    async def main() -> None:
        async with serving(config()) as (address, service):
            for number in range(30):
                async with connect(f"ws://{address}/v1/stream") as client:
                    await client.send(bytes(640))
                    if number % 3 == 0:
                        client.transport.abort()
            await nobody_left(service)
            names = sorted(task.get_name() for task in asyncio.all_tasks())
            assert not [name for name in names if name.startswith(("send-", "session-", "read-", "turn-"))]
            async with connect(f"ws://{address}/v1/stream") as client:
                messages, _ = await ask(client)
            assert messages[-1]["text"] == "It is noon."

    run_networked(main())


def test_the_example_client_gets_its_answer(tmp_path: Path) -> None:
    question, answer = tmp_path / "question.wav", tmp_path / "answer.wav"
    soundfile.write(question, np.frombuffer(TONE, "<i2")[:9600], RATE_HZ)

    async def main() -> str:
        async with serving(config()) as (address, _):
            url = f"ws://{address}/v1/stream"
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(EXAMPLE), str(question), str(answer), "--url", url, stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            assert process.returncode == 0
            return out.decode()

    assert run_networked(main()).splitlines() == ["user: what time is it", "agent: It is noon."]
    assert soundfile.info(answer).duration == pytest.approx(0.66, rel=0.05)


# ------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "voice.example"])
def test_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        listen(ServerConfig(host=host, port=0))


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["serve", str(write_config(tmp_path)), "--port", str(taken.getsockname()[1])]
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "of 127.0.0.1 is taken by another program" in result.output and "--port" in result.output


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_listened_at(host: str) -> None:
    try:
        with listen(ServerConfig(host=host, port=0)) as listener:
            assert listener.getsockname()[1] > 0
    except ConfigError as error:
        assert host == "::1" and re.search("cannot listen|is no address of", str(error)), "a machine without IPv6"


def test_the_command_says_where_it_is_and_ends_in_order(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "antiphon", "serve", str(write_config(tmp_path)), "--port", "0"]
    environ = {"PYTHONPATH": str(SUPPORT), "ANTIPHON_HOME": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(2)]
            assert lines[0].startswith("http://127.0.0.1:") and lines[0].rstrip().endswith("loading scripted.yaml")
            assert lines[1].startswith("ready: http://127.0.0.1:")
            url = lines[1].split()[1]
            assert fetch(f"{url}/readyz")[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=300) == 0
        finally:
            process.kill()  # does nothing to one that has ended
