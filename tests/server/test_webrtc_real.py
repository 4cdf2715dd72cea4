"""A call on real engines: a question is spoken into it, and what comes back is heard by our own ear."""

from __future__ import annotations

import asyncio
import re
import threading

import numpy as np
import pytest
from realtime_schema import validate_all
from served import NO_KEYS
from webrtc_call import phone
from webrtc_caller import RATE_HZ, Caller

from antiphon.engines.audio import AudioFrame, resample, to_pcm16
from antiphon.engines.protocols import STTOptions, TTSOptions
from antiphon.pipeline.config import load_config
from antiphon.pipeline.config.model import ServerConfig

QUESTION = "Can you tell me where the river is?"
"""In one breath: a pause in it might end the turn."""


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def shared(expected: list[str], found: list[str]) -> float:
    return sum(word in found for word in expected) / len(expected)


@pytest.mark.real
@pytest.mark.timeout(900)
def test_a_spoken_question_is_understood_and_the_spoken_answer_is_what_was_written() -> None:
    given = load_config("tiny.yaml").model_copy(update={"server": ServerConfig(port=0, keys_file=NO_KEYS)})

    async def main() -> None:
        async with phone(given) as line:
            engines = line.service.engines
            said = [chunk.frame async for chunk in engines.tts.synthesize(QUESTION, TTSOptions())]
            question = np.concatenate([frame.samples for frame in said])
            async with Caller() as caller:
                await line.dial(caller)
                await caller.event("session.created")
                caller.send(type="session.update", session={"type": "realtime", "max_output_tokens": 40})
                await caller.event("session.updated")
                await asyncio.sleep(0.5)
                begin = len(caller.heard)
                caller.voice.say(to_pcm16(resample(question, said[0].rate_hz, RATE_HZ)))
                written = await caller.event("response.output_audio_transcript.done", timeout_s=90)
                await caller.event("output_audio_buffer.stopped", timeout_s=90)
                await asyncio.sleep(0.3)
                frames = caller.heard[begin:]
            validate_all(caller.events)
            understood = await caller.event("conversation.item.input_audio_transcription.completed")
            assert shared(words(QUESTION), words(understood["transcript"])) >= 0.8, understood["transcript"]
            sound = np.concatenate([samples for _, samples in frames]).astype(np.float32) / 32768
            heard = await engines.stt.transcribe(AudioFrame(resample(sound, RATE_HZ, 16000), 16000), STTOptions())
            expected, found = words(written["transcript"]), words(heard.text)
            assert len(expected) > 2
            assert shared(expected, found) >= 0.8, (written["transcript"], heard.text)

    asyncio.run(main())
    assert not [one for one in threading.enumerate() if one.name == "audio-decoder"]
