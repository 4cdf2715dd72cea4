"""A fixed silence ends the turn: the simplest detector, and the yardstick for the others."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from antiphon.engines.audio import AudioFrame
from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.protocols import EndpointPolicy

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

ENGINE = "silence"


class SilenceOptions(EngineOptions):
    """Options of the `silence` engine."""

    silence_ms: float = option(600.0, "Silence that ends a turn.", unit="ms", gt=0.0, le=10_000.0)


class SilenceDetector:
    """The `silence` engine: only a policy."""

    def __init__(self, options: SilenceOptions) -> None:
        self._policy = EndpointPolicy(silence_ms=options.silence_ms, max_silence_ms=options.silence_ms)

    @property
    def policy(self) -> EndpointPolicy:
        return self._policy

    async def end_probability(self, audio: AudioFrame, text: str | None) -> float:
        """Never asked: the policy has no moment to ask at.

        :raises EngineRequestInvalid: always.
        """
        raise EngineRequestInvalid(
            f"the turn engine '{ENGINE}' has no probability: its policy says after how much silence the turn ends",
            stage="turn",
            engine=ENGINE,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def create(options: SilenceOptions, context: EngineContext) -> SilenceDetector:
    """Make the engine, not yet entered."""
    return SilenceDetector(options)
