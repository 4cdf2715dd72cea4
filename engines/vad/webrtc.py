"""The VAD of WebRTC (Gaussian mixtures over six sub-bands), by the package webrtcvad-wheels.

It says yes or no, not how sure it is, and holds a yes for a fixed number of frames after speech has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from antiphon.engines.audio import Samples, to_pcm16
from antiphon.engines.config import EngineOptions, option
from antiphon.engines.lifecycle import Loadable
from antiphon.engines.protocols import Stage
from antiphon.engines.vad.window import checked_window

if TYPE_CHECKING:
    from antiphon.engines.registry import EngineContext

ENGINE = "webrtcvad"

_HOLD_MS: dict[str, dict[int, float]] = {
    "gentle": {10: 140.0, 20: 140.0, 30: 150.0},
    "aggressive": {10: 90.0, 20: 100.0, 30: 90.0},
}
"""How long the library holds a yes after the last frame that it takes for speech, by frame length.

Measured where speech stops in mid-word, it is this and one frame more (the filter bank's memory). Where speech dies
away, the last frame that the library takes for speech comes earlier than the last that can be heard, so this table is
nearly unbiased in modes 0-2, and in mode 3 puts the end of speech some 60 ms too early: see docs/engines-vad.md.
"""


class WebRTCVADOptions(EngineOptions):
    """Options of the `webrtcvad` engine."""

    mode: Literal[0, 1, 2, 3] = option(
        3,
        "How strict: 0 lets most pass as speech, 3 the least; "
        "modes 0 and 1 hold speech for 140-150 ms after its end, 2 and 3 for 90-100.",
    )
    frame_ms: Literal[10, 20, 30] = option(20, "Length of one frame.", unit="ms")
    rate_hz: Literal[8000, 16000] = option(16000, "Sample rate that the engine works at.", unit="Hz")


class WebRTCVADStream:
    """One stream's mixture model and hold counter."""

    def __init__(self, mode: int, samples: int, rate_hz: int) -> None:
        self._mode = mode
        self._samples = samples
        self._rate_hz = rate_hz
        self._vad: Any = None
        self.reset()

    def probability(self, window: Samples) -> float:
        """1.0 for speech (or the hold after it), 0.0 for none.

        :param window: float32 in [-1, 1], shape (window_samples,).
        :raises EngineRequestInvalid: another type or shape.
        """
        checked = checked_window(window, self._samples, self._rate_hz, engine=ENGINE)
        return 1.0 if self._vad.is_speech(to_pcm16(checked).tobytes(), self._rate_hz) else 0.0

    def reset(self) -> None:
        import webrtcvad

        self._vad = webrtcvad.Vad(self._mode)


class WebRTCVAD(Loadable):
    """The `webrtcvad` engine. Holds no model: entering only checks that the package works."""

    stage: Stage = "vad"
    engine = ENGINE

    def __init__(self, options: WebRTCVADOptions) -> None:
        self._options = options

    @property
    def rate_hz(self) -> int:
        return self._options.rate_hz

    @property
    def window_samples(self) -> int:
        return self._options.rate_hz * self._options.frame_ms // 1000

    @property
    def hidden_hangover_ms(self) -> float:
        """How long the engine goes on saying "speech": see docs/engines-vad.md for the measurement."""
        return _HOLD_MS["gentle" if self._options.mode < 2 else "aggressive"][self._options.frame_ms]

    @property
    def threshold(self) -> float:
        return 0.5

    @property
    def release_threshold(self) -> float:
        return 0.5

    def stream(self) -> WebRTCVADStream:
        """A new stream's state.

        :raises EngineFailed: the engine is not entered.
        """
        self._require_entered()
        return WebRTCVADStream(self._options.mode, self.window_samples, self.rate_hz)

    async def _load(self) -> None:
        import webrtcvad

        webrtcvad.Vad(self._options.mode)


def create(options: WebRTCVADOptions, context: EngineContext) -> WebRTCVAD:
    """Make the engine, not yet entered."""
    return WebRTCVAD(options)
