"""Nothing that waits for a disk, a socket or a lock runs on the event loop while people talk."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any

import numpy as np
import openai
import pytest
from blockbuster import BlockBuster, BlockingError
from served import config, serving
from websockets.asyncio.client import connect

TONE = (0.3 * np.sin(2 * np.pi * 220 / 16000 * np.arange(320)) * 32767).astype("<i2").tobytes()


def watched(work: Any) -> None:
    """Run it; whatever blocks the loop raises there."""

    async def main() -> None:
        detector = BlockBuster(scanned_modules=["antiphon"])
        async with serving(config({"capacity": "auto"})) as (address, service):
            detector.activate()
            try:
                await work(address, service)
            finally:
                detector.deactivate()
            errors = [name for name in service.metrics.page()[0].decode().splitlines() if "BlockingError" in name]
            assert errors == []

    asyncio.run(main())


async def converse(address: str) -> list[str]:
    """A question over the plain stream; what the agent said."""
    said: list[str] = []
    async with connect(f"ws://{address}/v1/stream") as client:
        await client.send(json.dumps({"type": "settings", "events": True}))

        async def speak() -> None:
            for piece in [TONE] * 30 + [bytes(640)] * 90:
                await asyncio.sleep(0.02)
                await client.send(piece)
            await client.send(json.dumps({"type": "end"}))

        speaking = asyncio.create_task(speak())
        async for message in client:
            told = json.loads(message) if isinstance(message, str) else {}
            assert told.get("event", {}).get("type") != "error"
            if told.get("role") == "agent" and told["final"]:
                said.append(told["text"])
        await speaking
    return said


def test_the_detector_detects() -> None:
    async def main() -> None:
        detector = BlockBuster()
        detector.activate()
        try:
            with pytest.raises(BlockingError):
                time.sleep(0.01)  # noqa: ASYNC251
        finally:
            detector.deactivate()

    asyncio.run(main())


def test_a_conversation_over_the_plain_stream() -> None:
    async def work(address: str, service: Any) -> None:
        assert await converse(address) == ["It is noon."]

    watched(work)


def test_the_calls_for_recordings_speech_chat_and_figures() -> None:
    async def work(address: str, service: Any) -> None:
        async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0) as client:
            voice = await client.audio.speech.create(
                model="any", voice="any", input="It is noon.", response_format="wav"
            )
            heard = await client.audio.transcriptions.create(model="any", file=("a.wav", voice.read()))
            assert heard.text == "what time is it"
            answer = await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Hello"}])
            assert answer.choices[0].message.content == "It is noon."
        for path in ("metrics", "v1/sessions", "readyz"):
            await asyncio.to_thread(
                lambda url: urllib.request.urlopen(url, timeout=10).close(), f"http://{address}/{path}"
            )

    watched(work)
