"""The check that every VAD stream makes of a window before it looks at it."""

from __future__ import annotations

import numpy as np

from antiphon.engines.audio import Samples, to_mono_float32
from antiphon.engines.errors import EngineRequestInvalid


def checked_window(window: Samples, samples: int, rate_hz: int, *, engine: str) -> Samples:
    """Return the window as it may go into an engine: finite and within [-1, 1].

    Non-finite samples become silence and others are clipped, so that one bad block cannot poison an engine's state.

    :param window: float32 mono, shape (samples,).
    :raises EngineRequestInvalid: another type or shape.
    """
    if not isinstance(window, np.ndarray) or window.dtype != np.float32 or window.shape != (samples,):
        got = f"{window.dtype} of shape {window.shape}" if isinstance(window, np.ndarray) else type(window).__name__
        raise EngineRequestInvalid(
            f"the vad engine '{engine}' takes windows of float32 of shape ({samples},), "
            f"{1000 * samples / rate_hz:g} ms at {rate_hz} Hz; this one is {got}",
            stage="vad",
            engine=engine,
            hint="cut the stream into windows of `window_samples` at `rate_hz` (the pipeline's gate does)",
        )
    if float(np.abs(window).max()) <= 1.0:  # false for NaN too
        return window
    return to_mono_float32(window)
