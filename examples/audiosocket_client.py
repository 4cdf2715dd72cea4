"""Call a running server as Asterisk does: AudioSocket, PCM at 8 kHz over TCP.

    antiphon serve local.yaml --set server.audiosocket.port=9092
    python examples/audiosocket_client.py question.wav answer.wav
    python examples/audiosocket_client.py question.wav answer.wav --keys 123#

Needs `pip install soundfile soxr`, and nothing of Antiphon.
"""

from __future__ import annotations

import argparse
import asyncio
import struct
import uuid

import numpy as np
import soundfile
import soxr

HANGUP, UUID, DTMF, AUDIO = 0x00, 0x01, 0x03, 0x10
FRAME = 160
"""Samples in 20 ms."""


def packet(kind: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BH", kind, len(payload)) + payload


class Call:
    """Speaks the question, then listens until the answer is over."""

    def __init__(self, question: bytes, keys: str) -> None:
        self.question = question
        self.keys = keys
        self.answer = b""
        self.silence_s = 0.0
        """Since something was heard."""
        self.answered = asyncio.Event()

    async def speak(self, writer: asyncio.StreamWriter) -> None:
        """A frame every 20 ms, for as long as the call lasts; the keys after the question."""
        writer.write(packet(UUID, uuid.uuid4().bytes))
        due_s = asyncio.get_running_loop().time()
        at = 0
        while True:
            frame = self.question[at : at + 2 * FRAME]
            writer.write(packet(AUDIO, frame.ljust(2 * FRAME, b"\0")))
            at += 2 * FRAME
            if not frame and self.keys:
                writer.write(packet(DTMF, self.keys[0].encode()))
                self.keys = self.keys[1:]
            due_s += 0.02
            await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))

    async def listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            kind, length = struct.unpack(">BH", await reader.readexactly(3))
            payload = await reader.readexactly(length)
            if kind == HANGUP:
                return self.answered.set()
            if kind == AUDIO:
                self.answer += payload
                loud = bool(np.abs(np.frombuffer(payload, "<i2").astype(int)).max(initial=0) > 300)
                self.silence_s = 0.0 if loud else self.silence_s + 0.02
                if self.silence_s > 1.5 and np.abs(np.frombuffer(self.answer, "<i2").astype(int)).max() > 300:
                    self.answered.set()


async def main(question: str, answer: str, keys: str, host: str, port: int) -> None:
    samples, rate_hz = soundfile.read(question, dtype="float32", always_2d=True)
    samples = soxr.resample(samples[:, 0], rate_hz, 8000)
    call = Call((samples * 32767).astype("<i2").tobytes(), keys)
    reader, writer = await asyncio.open_connection(host, port)
    tasks = [asyncio.create_task(call.speak(writer)), asyncio.create_task(call.listen(reader))]
    async with asyncio.timeout(len(samples) / 8000 + 60):
        await call.answered.wait()
    for task in tasks:
        task.cancel()
    writer.write(packet(HANGUP))
    writer.close()
    heard = np.frombuffer(call.answer, "<i2")
    soundfile.write(answer, heard, 8000)
    print(f"{len(heard) / 8000:.1f} s of the line are in {answer}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("question", help="a WAV file")
    parser.add_argument("answer", help="where the line's sound goes")
    parser.add_argument("--keys", default="", help="pressed after the question")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9092)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.question, arguments.answer, arguments.keys, arguments.host, arguments.port))
