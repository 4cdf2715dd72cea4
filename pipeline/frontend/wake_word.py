"""A wake word in a stream, by microWakeWord (package pymicro-wakeword, TensorFlow Lite inside it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from antiphon.engines.audio import AudioFrame, Samples, StreamResampler, to_pcm16
from antiphon.engines.errors import EngineUnavailable, ModelMissing

RATE_HZ = 16000
BUILT_IN = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")
"""Models that the package holds."""


class WakeWord:
    """One stream's detector. 0.2 % of a core; call :meth:`close` at the end."""

    def __init__(self, model: str, *, threshold: float | None = None) -> None:
        """
        :param model: one of :data:`BUILT_IN`, or the path of a model's JSON file.
        :raises EngineUnavailable: the package is not installed, or does not load here.
        :raises ModelMissing: there is no such model.
        """
        try:
            import pymicro_wakeword
        except (ImportError, OSError) as error:
            raise EngineUnavailable(
                f"a wake word needs the package pymicro-wakeword ({error})", hint='pip install "antiphon[wake]"'
            ) from error
        self._features: Any = pymicro_wakeword.MicroWakeWordFeatures()
        try:
            if model in BUILT_IN:
                self._detector: Any = pymicro_wakeword.MicroWakeWord.from_builtin(pymicro_wakeword.Model(model))
            else:
                self._detector = pymicro_wakeword.MicroWakeWord.from_config(_file(model))
        except OSError as error:  # the shared library needs a newer C library than this system has
            raise EngineUnavailable(f"the wake word detector does not load here: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ModelMissing(f"'{model}' is no microWakeWord model: {error}", model=model) from error
        self.phrase: str = self._detector.wake_word
        self._threshold = self._detector.probability_cutoff if threshold is None else threshold
        self._resampler: StreamResampler | None = None
        self._pending: Samples = np.empty(0, dtype=np.float32)

    def push(self, frame: AudioFrame) -> bool:
        """Whether the phrase has ended in this frame (mono, any rate, any length; in order)."""
        if self._resampler is None or self._resampler.from_hz != frame.rate_hz:
            self._resampler = StreamResampler(frame.rate_hz, RATE_HZ)
        heard = np.concatenate([self._pending, self._resampler.push(frame.samples)])
        whole = len(heard) // (RATE_HZ // 100) * (RATE_HZ // 100)
        self._pending = heard[whole:]
        if not whole:
            return False
        probabilities = [
            self._detector.process_streaming_prob(features)
            for features in self._features.process_streaming(to_pcm16(heard[:whole]).tobytes())
        ]
        return any(probability > self._threshold for probability in probabilities if probability is not None)

    def reset(self) -> None:
        """Forget what was heard."""
        self._pending = self._pending[:0]
        self._resampler = None
        self._features.reset()
        self._detector.reset()

    def close(self) -> None:
        self._detector.close()


def _file(model: str) -> Path:
    path = Path(model).expanduser()
    if not path.is_file():
        raise ModelMissing(
            f"there is no wake word model '{model}'",
            model=model,
            hint=f"use {', '.join(BUILT_IN)}, or the path of a microWakeWord model's JSON file",
        )
    return path
