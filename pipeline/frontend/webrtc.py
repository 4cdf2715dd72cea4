"""WebRTC's audio processing by the package pywebrtc-audio: AEC3, noise suppression, gain control."""

from __future__ import annotations

from typing import Any

import numpy as np

from antiphon.engines.audio import Samples
from antiphon.engines.errors import EngineUnavailable

RATE_HZ = 16000
"""The rate at which AEC3 works without resampling on its way in and out."""
BLOCK = RATE_HZ // 100

_NOISE_LEVELS = {"low": 0, "moderate": 1, "high": 2}
_MAX_GAIN_DB = 12.0
"""The more gain, the louder what is left of the echo; the default of the library, 50 dB, makes speech of anything."""


class WebRTCProcessor:
    """One stream's state."""

    def __init__(self, *, cancel_echo: bool, noise_suppression: str, gain_control: bool) -> None:
        """
        :param noise_suppression: "off", "low", "moderate" or "high".
        :raises EngineUnavailable: the package is not installed, or does not load here.
        """
        suppress = noise_suppression != "off"
        self._processor: Any = _module().AudioProcessor(
            sample_rate=RATE_HZ,
            echo_cancellation=cancel_echo,
            noise_suppression=suppress,
            ns_level=_NOISE_LEVELS.get(noise_suppression, 0),
            auto_gain_control=gain_control,
            agc_max_gain_db=_MAX_GAIN_DB,
        )
        self.delay_samples = 128 if cancel_echo else 96 if suppress else 0
        """By how much what comes out is behind what goes in: the library's filter banks."""

    def process(self, near: Samples, far: Samples) -> Samples:
        """
        :param near: what was captured: float32, shape (n,), n a multiple of :data:`BLOCK`.
        :param far: what sounded meanwhile, same shape; not read where no echo is cancelled.
        :returns: as much, cleaned, `delay_samples` behind.
        """
        return np.asarray(self._processor.process(np.ascontiguousarray(near), far), dtype=np.float32)


def _module() -> Any:
    try:
        import pywebrtc_audio
    except ImportError as error:
        raise EngineUnavailable(
            f"echo cancellation, noise suppression and gain control need the package pywebrtc-audio ({error})",
            hint='pip install "antiphon[echo]", or set audio.echo to half_duplex, audio.noise_suppression to off and '
            "audio.gain_control to false",
        ) from error
    return pywebrtc_audio


def check_available() -> None:
    """:raises EngineUnavailable: the package is not installed, or does not load here."""
    _module()
