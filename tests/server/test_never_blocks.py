"""Nothing that waits for a disk, a socket or a lock runs on the event loop while people talk."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
import urllib.request
from typing import Any

import numpy as np
import openai
import pytest
import webrtc_caller  # noqa: F401  (the clock knows of its decoders)
from blockbuster import BlockBuster, BlockingError
from network_clock import run_networked
from served import config, serving
from telephone import TwilioLine
from websockets.asyncio.client import connect
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming_talk import client, speak_live, until, wyoming_server

from antiphon.benchmarks.peers.realtime import RealtimePeer
from antiphon.benchmarks.server.webrtc import WebRtcSubject
from antiphon.benchmarks.sink import first_audible
from antiphon.benchmarks.subject import Listener
from antiphon.pipeline.events import TurnEnded

TONE = (0.3 * np.sin(2 * np.pi * 220 / 16000 * np.arange(320)) * 32767).astype("<i2").tobytes()


def watched(work: Any) -> None:
    """Run it; whatever blocks the loop raises there."""

    async def main() -> None:
        detector = BlockBuster(scanned_modules=["antiphon"])
        # aiortc waits for the thread of its decoder, which has been told to end and has nothing left to do.
        detector.functions["threading.Lock.acquire"].can_block_in("aiortc/rtcrtpreceiver.py", "__stop_decoder")
        detector.functions["time.sleep"].can_block_in("network_clock.py", "_something")  # the clock of this test
        async with serving(config({"capacity": "auto"})) as (address, service):
            detector.activate()
            try:
                await work(address, service)
            finally:
                detector.deactivate()
            errors = [name for name in service.metrics.page()[0].decode().splitlines() if "BlockingError" in name]
            assert errors == []

    run_networked(main())


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


@pytest.mark.parametrize("front", ["realtime", "webrtc"])
def test_a_conversation_over_openais_protocol(front: str) -> None:
    async def work(address: str, service: Any) -> None:
        realtime = RealtimePeer(f"ws://{address}/v1/realtime", instructions="Be brief.", turn_detection="semantic_vad")
        subject: Any = realtime if front == "realtime" else WebRtcSubject("webrtc", f"http://{address}")
        await asyncio.to_thread(importlib.import_module, "aiortc")  # for the caller, who is in this process
        listener = Listener()
        session = await subject.open(listener)
        silence = np.zeros(320, np.float32)
        loud = np.frombuffer(TONE, "<i2").astype(np.float32) / 32768
        for piece in [silence] * 10 + [loud] * 30:
            await asyncio.sleep(0.02)
            await session.hear(piece)

        def answered() -> bool:
            over = any(isinstance(event, TurnEnded) for event in listener.events)
            return over and first_audible(listener.sink.pieces) is not None

        async with asyncio.timeout(60):
            while not answered():
                await asyncio.sleep(0.02)
                await session.hear(silence)
        await session.close()
        assert [event.text for event in listener.events if isinstance(event, TurnEnded)] == ["It is noon."]
        assert first_audible(listener.sink.pieces) is not None

    watched(work)


def test_a_call_by_telephone() -> None:
    async def work(address: str, service: Any) -> None:
        line = TwilioLine()
        async with connect(f"ws://{address}/v1/telephony/twilio") as socket:

            async def there() -> None:
                while (message := await line.receive()) is not None:
                    await socket.send(message)

            async def back() -> None:
                async for message in socket:
                    await line.send(message)

            pumps = [asyncio.create_task(there()), asyncio.create_task(back())]
            line.begin()
            await line.speak(0.6)
            async with asyncio.timeout(60):
                while line.played_s <= 0.3:
                    await line.be_silent(0.1)
            for pump in pumps:
                pump.cancel()
            await asyncio.wait(pumps)
            line.close()

    watched(work)


def test_a_run_over_wyoming() -> None:
    async def main() -> None:
        async with wyoming_server() as (address, service), client(address) as one:
            detector = BlockBuster(scanned_modules=["antiphon"])
            detector.activate()
            try:
                await one.write_event(RunPipeline(PipelineStage.ASR, PipelineStage.TTS).event())
                await speak_live(one, 0.6)
                await speak_live(one, 0.7, loud=False)
                events = await until(one, "synthesize", "error")
                assert [event.data["text"] for event in events if event.type == "synthesize"] == ["It is noon."]
            finally:
                detector.deactivate()
            assert "BlockingError" not in service.metrics.page()[0].decode()
            assert service.sessions == 1

    asyncio.run(main())


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
                lambda url: urllib.request.urlopen(url, timeout=300).close(), f"http://{address}/{path}"
            )

    watched(work)
