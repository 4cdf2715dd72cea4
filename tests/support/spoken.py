"""Real speech for tests: what the default voice says."""

from __future__ import annotations

import numpy as np

from antiphon.engines.audio import Samples, resample
from antiphon.engines.host import EngineHost
from antiphon.engines.models.store import ModelStore
from antiphon.engines.registry import EngineContext, find

RATE_HZ = 16000


async def spoken(texts: list[str]) -> list[Samples]:
    """Each text as 16 kHz audio. Needs the models: mark the test `real`."""
    host = EngineHost()
    spec = find("tts", "piper")
    out = []
    async with spec.create(spec.options_class()(), EngineContext(host, ModelStore())) as tts:
        for text in texts:
            chunks = [chunk.frame.samples async for chunk in tts.synthesize(text)]
            out.append(resample(np.concatenate(chunks), tts.rate_hz, RATE_HZ))
    await host.close()
    return out
