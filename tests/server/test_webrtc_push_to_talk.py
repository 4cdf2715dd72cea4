"""Calls whose client says itself when its turn is over: what of their sound is kept for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from served import config
from webrtc_call import Phone, on_the_phone, tone
from webrtc_caller import Caller

from antiphon.engines.audio import AudioFrame
from antiphon.engines.testing import Heard
from antiphon.server.realtime.buffer import InputBuffer
from antiphon.server.realtime.ear import Ear
from antiphon.server.realtime.sounds import Recorder, Sounds

HEARD = "conversation.item.input_audio_transcription.completed"


def test_the_sound_of_a_call_pushes_out_the_oldest() -> None:
    rate_hz = 16000

    class Line:
        async def frames(self) -> AsyncIterator[AudioFrame]:
            for loud in [0.0] * 100 + [0.5] * 25:
                yield AudioFrame(np.full(320, loud, dtype=np.float32), rate_hz)

    async def main() -> AudioFrame:
        buffer = InputBuffer(max_s=1.0)
        line: Any = Line()
        ear = Ear(line, buffer, is_manual=lambda: True, recorder=Recorder(max_s=0), sounds=Sounds(max_s=0))
        async for frame in ear.frames():
            assert not frame.samples.any(), "the session hears silence"
        return buffer.taken()

    audio = asyncio.run(main())
    assert audio.duration_s == pytest.approx(1.0)
    assert not audio.samples[: rate_hz // 2].any() and (audio.samples[rate_hz // 2 :] == 0.5).all()


def test_who_presses_again_at_once_loses_nothing() -> None:
    async def talk(phone: Phone) -> None:
        async with Caller() as caller:
            session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            await phone.dial(caller, session=json.dumps(session))
            await caller.event("session.created")
            caller.voice.say(tone(0.6))
            await asyncio.sleep(0.8)
            caller.send(type="input_audio_buffer.commit")
            caller.send(type="input_audio_buffer.clear")
            await caller.event("input_audio_buffer.cleared")
            first = await caller.event(HEARD, timeout_s=5.0)
            assert first["transcript"] == "all of it"
            await asyncio.sleep(0.3)
            count = len(caller.events)
            caller.send(type="input_audio_buffer.commit")  # what has come since is another item
            assert (await caller.event(HEARD, after=count))["transcript"] == "the rest"

    def hear(call: Any) -> Heard:
        return Heard("all of it" if call.audio_s > 0.6 else "the rest")

    on_the_phone(talk, config(stt=hear))
