"""Answers one recording: python examples/answer_a_recording.py QUESTION.wav ANSWER.wav [CONFIG]"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import soundfile

from antiphon import AudioInput, VoicePipeline


async def main(question: str, answer: str, config: str = "local.yaml") -> None:
    samples, rate_hz = soundfile.read(question, dtype="int16")
    pieces = []
    async with VoicePipeline.from_config(config) as pipeline:
        result = await pipeline.run(AudioInput(buffer=samples, frame_rate=rate_hz))
        async for event in result.stream():
            match event.type:
                case "voice_stream_event_transcript":
                    print(f"{event.role}: {event.text}")
                case "voice_stream_event_audio":
                    pieces.append(event.data)
                case "voice_stream_event_error":
                    print(f"error: {event.error}", file=sys.stderr)
    if pieces:
        soundfile.write(answer, np.concatenate(pieces), 24000)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
