"""Call a running server as Twilio does: a media stream over a WebSocket, mu-law at 8 kHz.

    antiphon serve local.yaml
    python examples/media_stream_client.py question.wav answer.wav
    python examples/media_stream_client.py question.wav answer.wav --keys 123#

It plays what it is sent in order, 20 ms at a time, sends marks back when it has come to them, and forgets the rest at a
`clear`: what the network does. Needs `pip install websockets soundfile soxr antiphon` (the last for its mu-law).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
from collections import deque
from typing import Any

import numpy as np
import soundfile
import soxr
from websockets.asyncio.client import ClientConnection, connect

from antiphon.server import g711

FRAME = 160
"""Bytes of mu-law in 20 ms."""
SILENCE = b"\xff" * FRAME


class Call:
    def __init__(self, server: ClientConnection, question: bytes, keys: str) -> None:
        self.server = server
        self.question = question
        self.keys = keys
        self.queue: deque[bytes | str] = deque()
        """What the server has sent and was not played: audio, and marks between it."""
        self.line = b""
        """What was played."""
        self.silent_frames = 0
        self.sequence = 0

    async def send(self, event: str, **body: Any) -> None:
        self.sequence += 1
        message = {"event": event, "sequenceNumber": str(self.sequence), "streamSid": "MZ0", **body}
        await self.server.send(json.dumps(message))

    async def begin(self) -> None:
        await self.server.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
        form = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        start = {"accountSid": "AC0", "streamSid": "MZ0", "callSid": "CA0", "tracks": ["inbound"], "mediaFormat": form}
        await self.send("start", start=start)

    async def talk(self) -> None:
        """Both directions, a frame every 20 ms, until the answer has been over for a while."""
        due_s = asyncio.get_running_loop().time()
        at = 0
        while not self.over():
            frame = self.question[at : at + FRAME]
            at += FRAME
            payload = base64.b64encode(frame.ljust(FRAME, SILENCE[:1])).decode()
            await self.send("media", media={"track": "inbound", "timestamp": str(at // 8), "payload": payload})
            if not frame and self.keys:
                await self.send("dtmf", dtmf={"track": "inbound_track", "digit": self.keys[0]})
                self.keys = self.keys[1:]
            await self.play()
            due_s += 0.02
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))

    async def play(self) -> None:
        while self.queue and isinstance(mark := self.queue[0], str):
            self.queue.popleft()
            await self.send("mark", mark={"name": mark})
        audio = self.queue.popleft() if self.queue else None
        self.silent_frames = 0 if audio else self.silent_frames + 1
        self.line += audio if isinstance(audio, bytes) else SILENCE

    def over(self) -> bool:
        return self.silent_frames > 75 and self.line.strip(SILENCE[:1]) != b""

    async def listen(self) -> None:
        async for text in self.server:
            message = json.loads(text)
            if message["event"] == "media":
                data = base64.b64decode(message["media"]["payload"])
                self.queue.extend(data[at : at + FRAME] for at in range(0, len(data), FRAME))
            elif message["event"] == "mark":
                self.queue.append(message["mark"]["name"])
            elif message["event"] == "clear":  # marks of what is dropped come back at once
                marks = [part for part in self.queue if isinstance(part, str)]
                self.queue.clear()
                for mark in marks:
                    await self.send("mark", mark={"name": mark})


def signature(token: str, url: str) -> str:
    return base64.b64encode(hmac.new(token.encode(), url.encode(), hashlib.sha1).digest()).decode()


async def main(question: str, answer: str, url: str, keys: str, token: str | None) -> None:
    samples, rate_hz = soundfile.read(question, dtype="float32", always_2d=True)
    mulaw = g711.encode(soxr.resample(samples[:, 0], rate_hz, 8000), "mulaw")
    headers = {"X-Twilio-Signature": signature(token, url)} if token else {}
    async with connect(url, additional_headers=headers) as server:
        call = Call(server, mulaw, keys)
        listening = asyncio.create_task(call.listen())
        await call.begin()
        async with asyncio.timeout(len(mulaw) / 8000 + 60):
            await call.talk()
        await call.send("stop", stop={"accountSid": "AC0", "callSid": "CA0"})
        listening.cancel()
    heard = g711.decode(call.line, "mulaw")
    soundfile.write(answer, np.asarray(heard), 8000, subtype="PCM_16")
    print(f"{len(heard) / 8000:.1f} s of the line are in {answer}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("question", help="a WAV file")
    parser.add_argument("answer", help="where the line's sound goes")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1/telephony/twilio")
    parser.add_argument("--keys", default="", help="pressed after the question")
    parser.add_argument("--token", help="the account's token, to sign the request with")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.question, arguments.answer, arguments.url, arguments.keys, arguments.token))
