"""Waiting for a place over the fronts of OpenAI's protocol: the notice is heard, nothing is answered until then."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
import webrtc_caller  # noqa: F401  (the clock knows of its decoders)
from network_clock import run_networked
from served import config, serving

from antiphon.benchmarks.peers.realtime import RealtimePeer
from antiphon.benchmarks.server.stream import StreamSubject
from antiphon.benchmarks.server.webrtc import WebRtcSubject
from antiphon.benchmarks.subject import Listener
from antiphon.pipeline.events import ErrorEvent, TurnEnded

LOUD = (0.3 * np.sin(2 * np.pi * 220 / 16000 * np.arange(320))).astype(np.float32)
NOTICE, OVER = "All lines are busy.", "Thank you."


async def speak(session: Any, seconds: float, *, loud: bool) -> None:
    for _ in range(round(seconds / 0.02)):
        await asyncio.sleep(0.02)
        await session.hear(LOUD if loud else np.zeros(320, np.float32))


def audible_s(listener: Listener) -> float:
    return sum(float(np.count_nonzero(np.abs(one.samples) > 0.01)) / one.rate_hz for one in listener.sink.pieces)


@pytest.mark.parametrize("front", ["realtime", "webrtc"])
def test_who_waits_hears_why_and_is_served_when_there_is_room(front: str) -> None:
    async def main() -> None:
        server = {"max_sessions": 1, "when_full": "wait", "full_notice": NOTICE, "wait_over_notice": OVER}
        async with serving(config(server)) as (address, service):
            url = f"http://{address}"
            realtime = RealtimePeer(url.replace("http", "ws") + "/v1/realtime", instructions="Be brief.")
            subject: Any = realtime if front == "realtime" else WebRtcSubject("webrtc", url)
            first = await StreamSubject("stream", url).open(Listener())
            await first.hear(LOUD)
            waiting = Listener()
            second = await subject.open(waiting)
            await speak(second, 0.6, loud=True)
            await speak(second, 1.6, loud=False)
            assert len(service.talks.waiting) == 1
            assert [event for event in waiting.events if isinstance(event, TurnEnded)] == []
            heard_s = audible_s(waiting)
            assert heard_s > 0.4, "the notice was not heard"
            await first.close()
            await speak(second, 1.6, loud=False)
            assert service.talks.waiting == [] and audible_s(waiting) > heard_s + 0.2
            await speak(second, 0.6, loud=True)
            await speak(second, 2.0, loud=False)
            (ended,) = [event for event in waiting.events if isinstance(event, TurnEnded)]
            assert ended.text.endswith("It is noon.")  # as a client reads it: what was said before is told, too
            assert [event for event in waiting.events if isinstance(event, ErrorEvent)] == []
            await second.close()

    run_networked(main())
