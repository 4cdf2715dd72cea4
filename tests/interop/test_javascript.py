"""OpenAI's JavaScript client: its schemas over what our server sends, and the Agents SDK itself in Node."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from interop_clients import INTEROP, package_version, run_client
from interop_desk import CONFIG, QUESTIONS
from openai_call import Call
from served_process import served_process

pytestmark = pytest.mark.interop
SDK = "@openai/agents-realtime"
TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}


async def _tool(made: Call) -> None:
    speaking = asyncio.create_task(made.speak("weather", 3.0))
    item = (await made.next("response.output_item.done"))["item"]
    await made.next("response.done")
    await made.connection.conversation.item.create(
        item={"type": "function_call_output", "call_id": item["call_id"], "output": "Sunny."}
    )
    await made.connection.response.create()
    await made.next("response.done")
    await made.connection.conversation.item.retrieve(item_id=item["id"])
    await made.next("conversation.item.retrieved")
    speaking.cancel()


async def _interruption(made: Call) -> None:
    speaking = asyncio.create_task(made.speak("story", 1.5, "time", 3.0))
    first = await made.next("response.done")
    await made.connection.conversation.item.truncate(
        item_id=first["response"]["output"][0]["id"], content_index=0, audio_end_ms=300
    )
    await made.next("conversation.item.truncated")
    await made.next("response.done")
    speaking.cancel()


async def _items(made: Call) -> None:
    for role, kind in (("system", "input_text"), ("user", "input_text"), ("assistant", "output_text")):
        await made.connection.conversation.item.create(
            item={"type": "message", "role": role, "id": role, "content": [{"type": kind, "text": "Hello."}]}  # type: ignore[arg-type]
        )
        await made.next("conversation.item.done")
        await made.connection.conversation.item.retrieve(item_id=role)
        await made.next("conversation.item.retrieved")
    await made.connection.conversation.item.delete(item_id="user")
    await made.next("conversation.item.deleted")
    await made.connection.conversation.item.delete(item_id="user")
    await made.next("error")


async def _manual(made: Call) -> None:
    await made.speak("time")
    await made.connection.input_audio_buffer.commit()
    await made.next("input_audio_buffer.committed")
    await made.speak(0.2)
    await made.connection.input_audio_buffer.clear()
    await made.next("input_audio_buffer.cleared")
    await made.connection.response.create(response={"output_modalities": ["text"]})
    await made.next("response.done")


RECORDED: list[tuple[Callable[[Call], Awaitable[None]], dict[str, Any]]] = [
    (_tool, {"tools": [TOOL]}),
    (_interruption, {}),
    (_items, {}),
    (_manual, {"audio": {"input": {"turn_detection": None}}}),
]


def test_every_event_passes_the_schemas_of_the_javascript_client(
    desk_server: str, node: str, tmp_path: Path, row: Any
) -> None:
    row(SDK, package_version(SDK), "its schemas over recorded events")

    async def main() -> list[dict[str, Any]]:
        events = []
        async with openai.AsyncOpenAI(base_url=f"http://{desk_server}/v1", api_key="any", max_retries=0) as client:
            for talk, session in RECORDED:
                async with client.realtime.connect(model="gpt-realtime-2") as connection:
                    made = Call(connection)
                    await connection.session.update(session={"type": "realtime", **session})  # type: ignore[typeddict-item]
                    await made.next("session.updated")
                    await talk(made)
                    events += made.events
        return events

    recorded = tmp_path / "events.jsonl"
    recorded.write_text("".join(f"{json.dumps(event)}\n" for event in asyncio.run(main())), "utf-8")
    told = run_client(node, str(INTEROP / "node" / "zod.mjs"), str(recorded))
    assert told["failures"] == [] and told["status"] == 0
    assert len(told["counts"]) >= 25, told["counts"]


def agents(node: str, server: str, scenario: str, sounds: Path) -> dict[str, Any]:
    url = f"ws://{server}/v1/realtime"
    told = run_client(node, str(INTEROP / "node" / "agents.mjs"), url, "any", scenario, str(sounds))
    assert told["errors"] == []
    return told


@pytest.fixture
def in_node(node: str, desk_server: str, sounds: Path, row: Any) -> Callable[[str], dict[str, Any]]:
    def run(scenario: str) -> dict[str, Any]:
        row(f"{SDK} in Node, WebSocket", package_version(SDK), scenario)
        return agents(node, desk_server, scenario, sounds)

    return run


def test_spoken_turn_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("spoken")
    assert told["said"] == ["Arr, it is noon."] and told["user"] == [QUESTIONS[300]]
    assert told["statuses"] == ["completed"]
    assert told["audioBytes"] / 2 / 24000 == pytest.approx(len("Arr, it is noon.") * 0.06, rel=0.1)


def test_tool_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("tool")
    assert told["cities"] == ["Oslo"], "once"
    assert told["tools"] == [{"agent": "Desk", "name": "get_weather", "result": "Sunny."}]


def test_handoff_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("handoff")
    assert told["handoffs"] == [{"from": "Desk", "to": "Refunds"}]


def test_approval_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("approval")
    assert told["tools"] == [{"agent": "Desk", "name": "delete_account", "result": "Deleted."}]


def test_guardrail_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("guardrail")
    assert told["statuses"] == ["cancelled", "completed"]


def test_interruption_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("interruption")
    assert told["interrupted"] >= 1 and told["statuses"] == ["cancelled", "completed"]
    assert told["said"][-1] == "Arr, it is noon."
    assert told["user"] == [QUESTIONS[600], QUESTIONS[300]], "its history has both questions, by their transcripts"


def test_history_in_node(in_node: Callable[[str], dict[str, Any]]) -> None:
    told = in_node("history")
    assert told["user"] == ["What time is it?", "Hi."] and told["assistant"] == []


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The desk behind TLS, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "desk.yaml").write_text(
        f"{CONFIG}server: {{tls_cert: {cert}, tls_key: {key}, capacity: 'off'}}\n", "utf-8"
    )
    with served_process(folder / "desk.yaml") as server:
        yield f"localhost:{server.address.rpartition(':')[2]}", cert


def test_the_openai_package_over_tls(
    tls_server: tuple[str, Path], node: str, sounds: Path, row: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It speaks by wss alone."""
    row("openai in Node, WebSocket with TLS", package_version("openai"), "spoken")
    address, cert = tls_server
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(cert))
    told = run_client(
        node, str(INTEROP / "node" / "openai.mjs"), f"https://{address}/v1", "any", str(sounds / "time.wav")
    )
    assert told["heard"] == QUESTIONS[300] and told["said"].strip() == "It is noon."
    assert told["audioBytes"] / 2 / 24000 == pytest.approx(len("It is noon.") * 0.06, rel=0.1)
