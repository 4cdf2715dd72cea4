"""Silero VAD (versions 5 and 6), a small recurrent network in ONNX.

The graph takes a window of 32 ms with the last 4 ms of the window before it in front, and a state tensor; it gives the
speech probability of the window and the next state. https://github.com/snakers4/silero-vad
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import model_validator

from antiphon.engines.audio import Samples
from antiphon.engines.config import EngineOptions, option
from antiphon.engines.errors import EngineFailed, EngineLoadFailed
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.onnx_session import make_session, onnx_file
from antiphon.engines.protocols import Stage
from antiphon.engines.vad.window import checked_window

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

ENGINE = "silero"

_WINDOW = {8000: 256, 16000: 512}
_CONTEXT = {8000: 32, 16000: 64}
_STATE_SHAPE = (2, 1, 128)
_INPUTS = {"input", "state", "sr"}
_HYSTERESIS = 0.15
_LOWEST_RELEASE = 0.01


class SileroOptions(EngineOptions):
    """Options of the `silero` engine."""

    model: str = option(
        "silero-vad", "Catalog name or path of the ONNX file (interface of version 5 or 6).", model=True
    )
    threshold: float = option(0.5, "Speech begins at this probability.", gt=0.0, lt=1.0)
    release_threshold: float | None = option(
        None, "Speech ends below this probability; default: 0.15 below `threshold`.", gt=0.0, lt=1.0
    )
    rate_hz: Literal[8000, 16000] = option(16000, "Sample rate that the engine works at.", unit="Hz")

    @model_validator(mode="after")
    def _release_not_above_threshold(self) -> Self:
        if self.release_threshold is not None and self.release_threshold > self.threshold:
            raise ValueError(
                f"release_threshold ({self.release_threshold:g}) must not be above threshold ({self.threshold:g})"
            )
        return self


class SileroStream:
    """One stream's recurrent state and the tail of its last window."""

    def __init__(self, session: Any, rate_hz: int) -> None:
        self._run = session.run
        self._rate_hz = rate_hz
        self._samples = _WINDOW[rate_hz]
        self._context = _CONTEXT[rate_hz]
        self._rate = np.array(rate_hz, dtype=np.int64)
        self._input = np.zeros((1, self._context + self._samples), dtype=np.float32)
        self._state = np.zeros(_STATE_SHAPE, dtype=np.float32)

    def probability(self, window: Samples) -> float:
        """Speech probability of the next window.

        :param window: float32 in [-1, 1], shape (window_samples,).
        :raises EngineRequestInvalid: another type or shape; the state is as before.
        :raises EngineFailed: the network broke; the state is as before.
        """
        checked = checked_window(window, self._samples, self._rate_hz, engine=ENGINE)
        row = self._input
        row[0, self._context :] = checked
        try:
            output, state = self._run(None, {"input": row, "state": self._state, "sr": self._rate})
        except Exception as error:  # ONNX Runtime's own exception types have no common public base
            raise EngineFailed(f"the vad engine '{ENGINE}' failed: {error}", stage="vad", engine=ENGINE) from error
        self._state = state
        row[0, : self._context] = row[0, -self._context :]
        return float(output[0, 0])

    def reset(self) -> None:
        self._input.fill(0.0)
        self._state = np.zeros(_STATE_SHAPE, dtype=np.float32)


class SileroVAD(Loadable):
    """The `silero` engine: one ONNX session, shared by all streams (ONNX Runtime allows concurrent runs)."""

    stage: Stage = "vad"
    engine = ENGINE

    def __init__(self, options: SileroOptions, context: EngineContext) -> None:
        self._options = options
        self._models = context.models
        self._session: Any = None

    @property
    def rate_hz(self) -> int:
        return self._options.rate_hz

    @property
    def window_samples(self) -> int:
        return _WINDOW[self._options.rate_hz]

    @property
    def hidden_hangover_ms(self) -> float:
        """One window: with it the estimated end of natural speech is unbiased, see docs/engines-vad.md."""
        return 32.0

    @property
    def threshold(self) -> float:
        return self._options.threshold

    @property
    def release_threshold(self) -> float:
        if self._options.release_threshold is not None:
            return self._options.release_threshold
        return min(self.threshold, max(_LOWEST_RELEASE, self.threshold - _HYSTERESIS))

    def stream(self) -> SileroStream:
        """A new stream's state.

        :raises EngineFailed: the engine is not entered.
        """
        if self._session is None:
            raise self._not_entered()
        return SileroStream(self._session, self.rate_hz)

    async def _load(self) -> None:
        self._session = await asyncio.to_thread(self._loaded_session)

    async def _free(self) -> None:
        self._session = None

    def _loaded_session(self) -> Any:
        path = onnx_file(self._models.resolve(self._options.model), stage="vad", engine=ENGINE)
        session = make_session(path, threads=1, stage="vad", engine=ENGINE)
        if (names := {node.name for node in session.get_inputs()}) != _INPUTS:
            raise EngineLoadFailed(
                f"'{path}' is no Silero VAD of version 5 or 6: its inputs are {', '.join(sorted(names))}, "
                f"not {', '.join(sorted(_INPUTS))}",
                stage="vad",
                engine=ENGINE,
                hint="use the catalog's silero-vad, or another file with that interface",
            )
        try:
            SileroStream(session, self.rate_hz).probability(np.zeros(self.window_samples, dtype=np.float32))
        except EngineFailed as error:
            raise EngineLoadFailed(
                f"'{path}' loads but cannot run a window: {error.message}", stage="vad", engine=ENGINE
            ) from error
        return session


def create(options: SileroOptions, context: EngineContext) -> SileroVAD:
    """Make the engine, not yet entered."""
    return SileroVAD(options, context)
