"""A VAD that hears the tone of made clips (`bench_clips`): for conversations of several clips, wherever each begins.

Of a soft tone it is not sure.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from antiphon.engines.audio import Samples
from antiphon.engines.config import EngineOptions
from antiphon.engines.testing import ScriptedVAD


class LoudVad(ScriptedVAD):
    Options = EngineOptions

    def __init__(self, options: Any = None, context: Any = None) -> None:
        super().__init__([])

    def stream(self) -> Any:
        return _Stream()


class _Stream:
    def probability(self, window: Samples) -> float:
        loudness = float(np.sqrt(np.mean(np.square(window))))
        return 1.0 if loudness > 0.1 else 0.85 if loudness > 0.05 else 0.0

    def reset(self) -> None:
        pass
