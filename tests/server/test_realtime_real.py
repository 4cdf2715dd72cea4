"""A Realtime conversation over a real WebSocket on the real models of tiny.yaml, with OpenAI's own client."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import openai
import pytest
from realtime_schema import validate_all
from served import NO_KEYS, serving

from antiphon.engines.audio import Samples, resample
from antiphon.pipeline.config import Config, load_config
from antiphon.server.service import Service

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
RATE_HZ = 24000


def tiny() -> Config:
    config = load_config("tiny.yaml")
    server = config.server.model_copy(update={"port": 0, "keys_file": NO_KEYS, "capacity": "off"})
    return config.model_copy(update={"server": server})


async def said_by(service: Service, text: str) -> Samples:
    """Real speech, with a second of silence behind it."""
    frames = [chunk.frame async for chunk in service.engines.tts.synthesize(text)]
    speech = resample(np.concatenate([frame.samples for frame in frames]), frames[0].rate_hz, RATE_HZ)
    return np.concatenate([np.zeros(RATE_HZ // 4, np.float32), speech])


async def stream(connection: Any, samples: Samples) -> None:
    """Send audio as it is spoken."""
    loop, data = asyncio.get_running_loop(), (samples * 32767).astype("<i2").tobytes()
    began_s, step = loop.time(), RATE_HZ // 25 * 2
    for at in range(0, len(data), step):
        await asyncio.sleep(max(0.0, began_s + at / 2 / RATE_HZ - loop.time()))
        await connection.input_audio_buffer.append(audio=base64.b64encode(data[at : at + step]).decode())


async def until_done(connection: Any, events: list[dict[str, Any]], count: int) -> None:
    while sum(event["type"] == "response.done" for event in events) < count:
        events.append((await connection.recv()).to_dict(mode="json"))


def test_a_spoken_question_then_push_to_talk_in_telephone_quality_then_text() -> None:
    async def main() -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        async with serving(tiny()) as (address, service):
            question = await said_by(service, "What is the capital of France?")
            async with openai.AsyncOpenAI(base_url=f"http://{address}/v1", api_key="any") as client:
                async with client.realtime.connect(model="gpt-realtime") as connection:
                    silence = np.zeros(2 * RATE_HZ, np.float32)
                    speaking = asyncio.create_task(stream(connection, np.concatenate([question, silence])))
                    await until_done(connection, events, 1)
                    await speaking
                    audio = {"input": {"turn_detection": None}, "output": {"format": {"type": "audio/pcmu"}}}
                    await connection.session.update(session={"type": "realtime", "audio": audio})
                    whole = base64.b64encode((question * 32767).astype("<i2").tobytes()).decode()
                    await connection.input_audio_buffer.append(audio=whole)
                    await connection.input_audio_buffer.commit()
                    await connection.response.create()
                    await until_done(connection, events, 2)
                    content = [{"type": "input_text", "text": "Thank you."}]
                    await connection.conversation.item.create(
                        item={"type": "message", "role": "user", "content": content}
                    )
                    await connection.response.create(response={"output_modalities": ["text"]})
                    await until_done(connection, events, 3)
        return events

    events = asyncio.run(main())
    validate_all(events)
    assert not [event for event in events if event["type"] == "error"]
    heard = [event["transcript"] for event in events if event["type"].endswith("transcription.completed")]
    assert len(heard) == 2 and all("capital of france" in text.lower() for text in heard)
    done = [event["response"] for event in events if event["type"] == "response.done"]
    assert [response["status"] for response in done] == ["completed"] * 3
    sound = [
        b"".join(
            base64.b64decode(event["delta"])
            for event in events
            if event["type"] == "response.output_audio.delta" and event["response_id"] == response["id"]
        )
        for response in done
    ]
    words = [response["output"][0]["content"][0] for response in done]
    assert len(sound[0]) / 2 / RATE_HZ > 0.05 * len(words[0]["transcript"]), "24 kHz, two bytes a sample"
    assert len(sound[1]) / 8000 > 0.05 * len(words[1]["transcript"]), "8 kHz, one byte a sample"
    assert sound[2] == b"" and words[2]["text"].strip()
    assert all(response["usage"]["output_tokens"] > 0 for response in done)
