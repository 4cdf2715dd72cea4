"""The benchmark's caller, on a server of this process."""

from __future__ import annotations

import asyncio

import numpy as np
import webrtc_caller  # noqa: F401  (the clock knows of its decoders)
from network_clock import run_networked
from served import config, serving

from antiphon.benchmarks.server.webrtc import WebRtcSubject
from antiphon.benchmarks.sink import first_audible
from antiphon.benchmarks.subject import Listener
from antiphon.pipeline.events import Committed, TranscriptEvent, TurnEnded

TONE = (0.3 * np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)).astype(np.float32)


def test_a_turn_is_heard_and_told_of() -> None:
    async def main() -> Listener:
        listener = Listener()
        async with serving(config()) as (address, _):
            async with WebRtcSubject("webrtc", f"http://{address}") as subject:
                session = await subject.open(listener)
                loop = asyncio.get_running_loop()
                start_s = loop.time()
                for n in range(150):
                    await asyncio.sleep(max(0.0, start_s + n * 0.02 - loop.time()))
                    await session.hear(TONE[n * 320 :][:320] if 10 <= n < 40 else np.zeros(320, np.float32))
                await session.close()
        return listener

    listener = run_networked(main())
    kinds = [type(event) for event in listener.events]
    assert Committed in kinds and TranscriptEvent in kinds
    ended = next(event for event in listener.events if isinstance(event, TurnEnded))
    assert ended.text == "It is noon."
    committed = next(event for event in listener.events if isinstance(event, Committed))
    heard_s = first_audible(listener.sink.pieces)
    assert heard_s is not None and 0 < heard_s - committed.t_s < 2
    loud = sum(np.count_nonzero(np.abs(piece.samples) > 0.01) / piece.rate_hz for piece in listener.sink.pieces)
    assert 0.4 < loud < 0.8
