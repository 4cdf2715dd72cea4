"""A VAD that hears the tone of made clips (`bench_clips`): for conversations of several clips, wherever each begins."""

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
        return float(np.sqrt(np.mean(np.square(window))) > 0.05)

    def reset(self) -> None:
        pass
