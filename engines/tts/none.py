"""No voice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from antiphon.engines.absent import Absent
from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import SpeechChunk, Stage, TTSCapabilities, TTSOptions

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_AS_CONFIGURED = TTSOptions()


class NoTTSOptions(EngineOptions):
    """The TTS engine `none` has no options."""


def create(options: NoTTSOptions, context: EngineContext) -> NoTTS:
    """The engine, not yet entered."""
    return NoTTS()


class NoTTS(Absent):
    """Refuses every text."""

    stage: Stage = "tts"
    rate_hz = 24000
    capabilities = TTSCapabilities()

    def synthesize(self, text: str, options: TTSOptions = _AS_CONFIGURED) -> AsyncIterator[SpeechChunk]:
        """:raises EngineRequestInvalid: always."""
        self._require_entered()
        raise self.refusal()
