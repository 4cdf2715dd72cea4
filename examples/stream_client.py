"""Say a recording to a running server, and keep what it answers: PCM both ways over a WebSocket.

    antiphon serve tiny.yaml
    python examples/stream_client.py question.wav answer.wav

Needs `pip install websockets soundfile`, and nothing of Antiphon.
"""

from __future__ import annotations

import argparse
import asyncio
import json

import numpy as np
import soundfile
from websockets.asyncio.client import ClientConnection, connect


async def speak(server: ClientConnection, pcm: bytes, rate_hz: int) -> None:
    """Send 20 ms at a time, as a microphone would, then silence until the connection is closed."""
    size = rate_hz // 50 * 2
    for at in range(0, len(pcm), size):
        await server.send(pcm[at : at + size])
        await asyncio.sleep(0.02)
    while True:
        await server.send(bytes(size))
        await asyncio.sleep(0.02)


async def main(question: str, answer: str, url: str, key: str) -> None:
    samples, rate_hz = soundfile.read(question, dtype="int16")
    if samples.ndim > 1:
        samples = samples[:, 0]
    reply = b""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with connect(f"{url}?sample_rate={rate_hz}", additional_headers=headers) as server:
        speaking = asyncio.create_task(speak(server, samples.astype("<i2").tobytes(), rate_hz))
        try:
            async for message in server:
                if isinstance(message, bytes):
                    reply += message
                    continue
                event = json.loads(message)
                if event["type"] == "clear":  # somebody spoke into the reply: what has not been played is void
                    reply = b""
                elif event["type"] == "transcript" and event["final"]:
                    print(f"{event['role']}: {event['text']}")
                    if event["role"] == "agent":
                        break
        finally:
            speaking.cancel()
    soundfile.write(answer, np.frombuffer(reply, "<i2"), rate_hz)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("question", help="a WAV file")
    parser.add_argument("answer", help="where the reply goes")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1/stream")
    parser.add_argument("--key", default="", help="where the server has keys (antiphon keys create)")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.question, arguments.answer, arguments.url, arguments.key))
