"""No speech-to-text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from antiphon.engines.absent import Absent
from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import Stage, STTCapabilities, STTOptions, Transcript

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_AS_CONFIGURED = STTOptions()


class NoSTTOptions(EngineOptions):
    """The STT engine `none` has no options."""


def create(options: NoSTTOptions, context: EngineContext) -> NoSTT:
    """The engine, not yet entered."""
    return NoSTT()


class NoSTT(Absent):
    """Refuses every recording."""

    stage: Stage = "stt"
    rate_hz = 16000
    capabilities = STTCapabilities()

    async def transcribe(self, audio: AudioFrame, options: STTOptions = _AS_CONFIGURED) -> Transcript:
        """:raises EngineRequestInvalid: always."""
        self._require_entered()
        raise self.refusal()
