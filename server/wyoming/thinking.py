"""The agent in text for a Wyoming client: what Home Assistant calls a conversation agent.

A client that names its conversations (`context.conversation_id`) goes on with them over any number of connections;
they are kept for a while, as many as fit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from antiphon.pipeline.events import TextDeltaEvent, TurnEnded
from antiphon.pipeline.patience import end_tasks
from antiphon.pipeline.text_session import TextSession
from antiphon.server.access.principal import caller
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

MAX_TALKS = 64
"""Conversations that are kept; past that the one that was quiet for longest is ended."""
KEPT_S = 600.0
"""A conversation that was quiet for so long is over."""
MAX_TEXT_CHARS = 20_000


@dataclass(slots=True, eq=False)
class _Talk:
    session: TextSession
    assembly: Any
    """The engines that it was begun on; a reload brings others."""
    before: _Talk | None = None
    """The one that it goes on with; it is ended before anything is asked here."""
    used_s: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Talks:
    """One for a server. An async context manager: leaving it ends all conversations."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._kept: OrderedDict[str, _Talk] = OrderedDict()
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Talks:
        self._sweeper = asyncio.create_task(self._sweep(), name="wyoming-talks")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeper is not None:
            await end_tasks([self._sweeper])
        kept = list(self._kept.values())
        self._kept.clear()
        for talk in kept:
            await self._end(talk)

    async def answer(self, text: str, conversation_id: str | None) -> AsyncGenerator[str]:
        """The pieces of the agent's answer, as they come.

        :param conversation_id: None: a conversation of this one question.
        :raises Refused: the service is not ready.
        :raises AntiphonError: a stage failed.
        """
        self._service.must_be_ready()
        with self._service.using():
            async with self._talk(conversation_id) as session, aclosing(session.ask(text)) as events:
                said = False
                async for event in cast(AsyncIterator[Any], events):
                    if isinstance(event, TextDeltaEvent) and event.text:
                        said = True
                        yield event.text
                    elif isinstance(event, TurnEnded) and not said and event.text:
                        yield event.text

    @asynccontextmanager
    async def _talk(self, conversation_id: str | None) -> AsyncIterator[TextSession]:
        service = self._service
        if conversation_id is None:
            async with service.text_session(protocol="wyoming", principal=caller()) as session:
                yield session
            return
        talk = await self._found(conversation_id)
        async with talk.asking:  # the same client's next question waits for the answer to this one
            await self._end_before(talk)
            try:
                yield talk.session
            finally:
                talk.used_s = asyncio.get_running_loop().time()

    async def _found(self, conversation_id: str) -> _Talk:
        """The talk of that name, now the youngest."""
        service = self._service
        talk = self._kept.get(conversation_id)
        if talk is None or talk.assembly is not service.assembly:
            conversation = talk.session.conversation if talk is not None else None
            session = service.text_session(protocol="wyoming", principal=caller(), conversation=conversation)
            talk = self._kept[conversation_id] = _Talk(session, service.assembly, before=talk)
            await session.__aenter__()
        talk.used_s = asyncio.get_running_loop().time()
        self._kept.move_to_end(conversation_id)
        if len(self._kept) > MAX_TALKS:
            oldest = next((name for name, one in self._kept.items() if not one.asking.locked()), None)
            if oldest is not None and oldest != conversation_id:
                await self._end(self._kept.pop(oldest))
        return talk

    async def _end(self, talk: _Talk) -> None:
        async with talk.asking:
            await self._end_before(talk)
            try:
                await talk.session.__aexit__(None, None, None)
            except Exception:  # whoever comes here has to do with others
                logger.exception("a conversation was not ended in order", extra={"front": "wyoming"})

    async def _end_before(self, talk: _Talk) -> None:
        if talk.before is not None:
            await self._end(talk.before)
            talk.before = None

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(KEPT_S / 10)
            now_s = loop.time()
            for name, talk in list(self._kept.items()):
                unused = now_s - talk.used_s > KEPT_S and not talk.asking.locked()
                if unused and self._kept.get(name) is talk:  # others may have come meanwhile
                    del self._kept[name]
                    await self._end(talk)
