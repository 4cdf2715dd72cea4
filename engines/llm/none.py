"""No language model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from antiphon.engines.absent import Absent
from antiphon.engines.config import EngineOptions
from antiphon.engines.protocols import LLMCapabilities, LLMEvent, LLMOptions, Message, Stage, ToolSpec

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

_AS_CONFIGURED = LLMOptions()


class NoLLMOptions(EngineOptions):
    """The LLM engine `none` has no options."""


def create(options: NoLLMOptions, context: EngineContext) -> NoLLM:
    """The engine, not yet entered."""
    return NoLLM()


class NoLLM(Absent):
    """Refuses every question."""

    stage: Stage = "llm"
    capabilities = LLMCapabilities()

    def stream(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec] = (),
        options: LLMOptions = _AS_CONFIGURED,
        session_key: str = "",
    ) -> AsyncIterator[LLMEvent]:
        """:raises EngineRequestInvalid: always."""
        self._require_entered()
        raise self.refusal()

    async def prefill(
        self, messages: Sequence[Message], session_key: str = "", tools: Sequence[ToolSpec] | None = None
    ) -> None:
        """There is nothing to get ready."""
