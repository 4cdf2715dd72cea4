"""A transcription engine whose model lives in a process of its own, and takes its time. Imported there by name."""

from __future__ import annotations

import time
from typing import Any

from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import EngineOptions
from antiphon.engines.lifecycle import Hosted
from antiphon.engines.protocols import Stage, STTCapabilities, STTOptions, Transcript

TAKES_S = 0.2


class Runtime:
    def transcribe(self, seconds: float) -> str:
        time.sleep(TAKES_S)
        return "what time is it" if seconds > 0.3 else ""


class HostedSTT(Hosted):
    Options = EngineOptions
    stage: Stage = "stt"
    engine = "hosted"
    rate_hz = 16000
    capabilities = STTCapabilities()

    def __init__(self, options: EngineOptions, context: Any) -> None:
        super().__init__(context.host)

    async def _load(self) -> None:
        self._worker = await self._host.acquire(("hosted",), Runtime, name="hosted", isolation="process")

    async def transcribe(self, audio: AudioFrame, options: STTOptions = STTOptions()) -> Transcript:  # noqa: B008
        return Transcript(await self._loaded().call("transcribe", audio.duration_s))
