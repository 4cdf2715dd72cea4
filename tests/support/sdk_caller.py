"""A session of OpenAI's Agents SDK for Python, with a microphone that never stops."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

import numpy as np
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession, RealtimeSessionEvent
from interop_desk import desk, silence, tone
from network_clock import run_networked
from realtime_schema import validate_all
from served import serving

from antiphon.pipeline.config import Config

CHUNK = 480
"""20 ms at 24 kHz."""


class Caller:
    """One session, with a microphone that never stops."""

    def __init__(self, session: RealtimeSession) -> None:
        self.session = session
        self.events: list[RealtimeSessionEvent] = []
        self.raw: list[dict[str, Any]] = []
        """What the server sent."""
        self._to_say: list[np.ndarray[Any, np.dtype[np.int16]]] = []
        self._new = asyncio.Condition()
        self._seen = 0

    def say(self, question: str) -> None:
        whole = tone(question)
        self._to_say += [whole[at : at + CHUNK] for at in range(0, len(whole), CHUNK)]

    async def listen(self) -> None:
        async for event in self.session:
            async with self._new:
                self.events.append(event)
                if event.type == "raw_model_event" and event.data.type == "raw_server_event":
                    self.raw.append(event.data.data)
                self._new.notify_all()

    async def microphone(self) -> None:
        quiet = silence(CHUNK / 24000)
        began_s = asyncio.get_running_loop().time()
        for number in itertools.count(1):
            piece = self._to_say.pop(0) if self._to_say else quiet
            await self.session.send_audio(piece.tobytes())
            await asyncio.sleep(max(0.0, began_s + number * 0.02 - asyncio.get_running_loop().time()))

    async def next(self, kind: str, within_s: float = 40.0) -> Any:
        """The next event of a kind; those before it are passed over."""
        async with asyncio.timeout(within_s), self._new:
            while True:
                while self._seen < len(self.events):
                    self._seen += 1
                    if self.events[self._seen - 1].type == kind:
                        return self.events[self._seen - 1]
                await self._new.wait()

    async def until(self, what: Callable[[], bool], within_s: float = 40.0) -> None:
        async with asyncio.timeout(within_s), self._new:
            await self._new.wait_for(what)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.type == kind]

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.raw if event["type"] == kind]

    def said(self) -> list[str]:
        """What each answer said, as far as it came."""
        return [event["transcript"].strip() for event in self.sent("response.output_audio_transcript.done")]

    def texts(self, role: str) -> list[str]:
        """The messages of the SDK's own history."""
        found = []
        for item in self.session._history:
            if item.type == "message" and item.role == role:
                parts = [
                    getattr(part, "transcript", None) or getattr(part, "text", None) or "" for part in item.content
                ]
                found.append("".join(parts).strip())
        return found


class _LoopTime:
    """In place of the module :mod:`time`, for the SDK."""

    @staticmethod
    def monotonic() -> float:
        return asyncio.get_running_loop().time()


def talk(
    agent: RealtimeAgent[Any],
    do: Callable[[Caller], Awaitable[None]],
    *,
    settings: dict[str, Any] | None = None,
    given: Config | None = None,
    **run: Any,
) -> Caller:
    """A session in which the caller does `do`; ends in no error.

    :param given: the server's configuration; None: the desk.
    """

    async def main() -> Caller:
        async with serving(given or desk()) as (address, _):
            runner = RealtimeRunner(agent, config={"tracing_disabled": True, **run})  # type: ignore[typeddict-item]
            url = f"ws://{address}/v1/realtime?model=gpt-realtime-2"
            session = await runner.run(
                model_config={"url": url, "api_key": "any", "initial_model_settings": settings or {}}  # type: ignore[typeddict-item]
            )
            async with session:
                caller = Caller(session)
                tasks = [asyncio.create_task(caller.listen()), asyncio.create_task(caller.microphone())]
                try:
                    await do(caller)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.wait(tasks)
                return caller

    # The SDK takes from the time how much of an answer was heard: it has to be the time in which that is played.
    with (
        patch("agents.realtime.openai_realtime.time", _LoopTime),
        patch("agents.realtime._default_tracker.time", _LoopTime),
    ):
        caller = run_networked(main())
    assert caller.of("error") == [] and caller.sent("error") == []
    validate_all(caller.raw)
    return caller
