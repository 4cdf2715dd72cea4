"""The telephone's ways in on a whole server: who may call, the example clients, two processes, real engines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from keyed import Keys, bearer, keyed
from ports import free_port
from served import config, serving
from websockets.asyncio.client import connect

from antiphon.pipeline.config import load_config
from antiphon.server.telephony.signature import signature

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATH = "/v1/telephony/twilio"
TOKEN = "a-token-of-the-account"


def question(folder: Path, seconds: float = 0.8) -> Path:
    """Loud for the scripted ear, at a rate that is no telephone's."""
    path = folder / "question.wav"
    tone = 0.3 * np.sin(2 * np.pi * 220 / 22050 * np.arange(round(seconds * 22050)))
    soundfile.write(path, tone, 22050)
    return path


async def example(name: str, *arguments: str, cwd: Path = ROOT) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / name), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=cwd,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, output.decode()
    return output.decode()


# ------------------------------------------------------------------------------------- who may call


def start(**form: Any) -> str:
    media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1, **form}
    return json.dumps({"event": "start", "start": {"streamSid": "MZ1", "mediaFormat": media}})


def test_with_keys_a_media_stream_needs_one_and_an_expired_one_is_none(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    right, wrong, old = keys.make("desk", "realtime"), keys.make("ear", "audio"), keys.make("old", expires_s=0.01)

    async def main() -> Any:
        await asyncio.sleep(0.05)
        async with keyed(keys) as server:
            refused = [await server.refused(PATH, token) for token in (None, wrong, old, "sk-nonsense")]
            async with connect(f"ws://{server.address}{PATH}", additional_headers=bearer(right)) as call:
                await call.send(start())
                await call.send('{"event": "stop"}')
                return refused, await server.closed(call)

    refused, closed = asyncio.run(main())
    assert [(status, error["code"]) for status, error in refused] == [
        (401, "missing_api_key"), (403, "insufficient_permissions"), (401, "expired_api_key"), (401, "invalid_api_key"),
    ]  # fmt: skip
    assert closed[0] == 1000


def test_with_the_accounts_token_only_signed_streams_are_taken_and_they_need_no_key(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    key = keys.make("desk", "realtime")

    async def main(telephony: dict[str, Any], signed_url: str | None) -> Any:
        async with keyed(keys, {"telephony": telephony}) as server:
            url = f"ws://{server.address}{PATH}"
            headers = {"X-Twilio-Signature": signature(TOKEN, signed_url or url)}
            refused = [
                await server.refused(PATH, key),
                await server.refused(PATH, None, headers={"X-Twilio-Signature": signature("another-token", url)}),
            ]
            async with connect(url, additional_headers=headers) as call:
                await call.send(start())
                await call.send('{"event": "stop"}')
                return refused, await server.closed(call)

    for telephony, signed_url in (
        ({"twilio_auth_token": TOKEN}, None),
        ({"twilio_auth_token": TOKEN, "public_url": "wss://calls.example/"}, f"wss://calls.example{PATH}"),
    ):
        refused, closed = asyncio.run(main(telephony, signed_url))
        assert [(status, error["code"]) for status, error in refused] == [(403, "invalid_signature")] * 2
        assert closed[0] == 1000


def test_a_stream_that_is_no_call_is_closed_with_the_reason() -> None:
    async def main() -> Any:
        async with serving(config(stt=(), llm=(), repeat=False)) as (address, service):
            async with connect(f"ws://{address}{PATH}") as call:
                await call.send(start(sampleRate=16000))
                async with asyncio.timeout(60):
                    await call.wait_closed()
                return call.close_code, call.close_reason, service.sessions

    code, reason, _ = asyncio.run(main())
    assert code == 1008 and "16000 Hz" in reason


# ------------------------------------------------------------------------------------ the examples


def commands(page: str) -> list[list[str]]:
    """The examples' command lines that a page shows: script and arguments."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    python examples/")]
    return [shlex.split(line.removeprefix("python examples/")) for line in lines]


def reply_frames(path: Path) -> int:
    """How many frames of 20 ms are loud."""
    heard, rate_hz = soundfile.read(path)
    assert rate_hz == 8000
    return int(np.count_nonzero(np.abs(heard[: len(heard) // 160 * 160].reshape(-1, 160)).max(axis=1) > 0.02))


def test_the_commands_of_the_telephony_page_do_what_it_says(tmp_path: Path) -> None:
    shown = commands("telephony.md")
    assert len(shown) == 4
    port = free_port()
    question(tmp_path)

    async def main(server: dict[str, Any], lines: list[list[str]]) -> None:
        async with serving(config({"audiosocket": {"port": port}, **server})) as (address, _):
            for script, *arguments in lines:
                media = script == "media_stream_client.py"
                where = ["--url", f"ws://{address}{PATH}"] if media else ["--port", str(port)]
                assert "s of the line are in answer.wav" in await example(script, *arguments, *where, cwd=tmp_path)
                # With keys there are two turns, and the second may end the first answer.
                assert reply_frames(tmp_path / "answer.wav") >= 30, script

    signed = [line for line in shown if "--token" in line]
    token = signed[0][signed[0].index("--token") + 1]
    asyncio.run(main({"telephony": {"twilio_auth_token": token}}, signed))
    asyncio.run(main({}, [line for line in shown if line not in signed]))


def test_the_commands_of_the_wyoming_page_do_what_it_says(tmp_path: Path) -> None:
    shown = commands("wyoming.md")
    port = free_port()

    async def main() -> list[str]:
        async with serving(config({"wyoming": {"port": port}})):
            uri = ["--uri", f"tcp://127.0.0.1:{port}"]
            return [await example(script, *uri, *arguments, cwd=tmp_path) for script, *arguments in shown]

    described, _, heard, asked = asyncio.run(main())
    assert described.count("antiphon: ") == 3
    assert (heard, asked) == ("what time is it\n", "It is noon.\n")
    samples, rate_hz = soundfile.read(tmp_path / "noon.wav")
    assert rate_hz == 24000 and len(samples) == pytest.approx(0.66 * 24000, rel=0.05)


# --------------------------------------------------------------------------------- several processes


@contextlib.contextmanager
def process(*command: str) -> Any:
    """`antiphon serve ...` in a process of its own, ready; ended in order."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT / "tests" / "support")}
    running = subprocess.Popen(
        [sys.executable, "-m", "antiphon", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment,
    )  # fmt: skip
    try:
        lines = []
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if line.startswith("ready"):
                break
        else:
            raise AssertionError("".join(lines))
        yield running
    finally:
        running.terminate()
        running.communicate(timeout=300)
        assert running.returncode == 0


@pytest.mark.real
def test_piper_in_a_process_of_its_own_speaks_for_another(tmp_path: Path) -> None:
    port = free_port()
    voice = EXAMPLES / "wyoming" / "voice.yaml"
    with process("serve", str(voice), "--port", "0", "--set", f"server.wyoming.port={port}"):
        spoken = subprocess.run(
            [
                sys.executable, "-m", "antiphon", "say", str(EXAMPLES / "wyoming" / "desk.yaml"),
                "The voice lives elsewhere.", "--set", f"tts.uri=tcp://127.0.0.1:{port}", "--out",
                str(tmp_path / "said.wav"),
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert spoken.returncode == 0, spoken.stdout + spoken.stderr
    samples, rate_hz = soundfile.read(tmp_path / "said.wav")
    assert 1.0 < len(samples) / rate_hz < 3.0 and np.abs(samples).max() > 0.05


def test_the_configurations_of_the_two_processes_are_what_they_say() -> None:
    voice, desk = (load_config(EXAMPLES / "wyoming" / name) for name in ("voice.yaml", "desk.yaml"))
    assert [block.engine for block in (*voice.stt, *voice.llm, *voice.tts)] == ["none", "none", "piper"]
    assert voice.server.wyoming.services == ("tts",) and voice.server.wyoming.port == 10200
    assert [block.engine for block in desk.tts] == ["wyoming"] and desk.tts[0].options.uri == "tcp://127.0.0.1:10200"


@pytest.mark.real
def test_a_call_on_the_real_engines_is_understood_and_answered(tmp_path: Path) -> None:
    """The question is spoken by our own voice, the answer heard by our own ear; between them a telephone line."""
    asked, answered = str(tmp_path / "asked.wav"), str(tmp_path / "answered.wav")
    wyoming, audiosocket = free_port(), free_port()
    ports = ["--set", f"server.wyoming.port={wyoming}", "--set", f"server.audiosocket.port={audiosocket}"]
    uri = ["--uri", f"tcp://127.0.0.1:{wyoming}"]

    async def main() -> str:
        await example("wyoming_client.py", *uri, "say", "What is the capital of France?", asked)
        await example("audiosocket_client.py", asked, answered, "--port", str(audiosocket))
        return await example("wyoming_client.py", *uri, "hear", answered)

    with process("serve", "tiny.yaml", "--port", "0", *ports):
        heard = asyncio.run(main())
    assert soundfile.info(answered).samplerate == 8000
    assert "Paris" in heard or "France" in heard, heard
