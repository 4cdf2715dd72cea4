"""One call: a line, a conversation, and the events between them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from aiortc import RTCDataChannel

from antiphon.pipeline.config.webrtc import WebRtcKeys
from antiphon.server.access.principal import Principal
from antiphon.server.realtime.connection import RealtimeConnection
from antiphon.server.realtime.webrtc.channels import EVENTS, PIPELINE, Incoming, Outgoing, about_pipeline
from antiphon.server.realtime.webrtc.line import Line
from antiphon.server.realtime.webrtc.transport import WebRtcTransport
from antiphon.server.service import Service

logger = logging.getLogger(__name__)

LOOK_S = 1.0
FLUSH_S = 2.0
"""At the end, the last events have so long to reach the caller."""
LINGER_S = 0.3
"""What was sent last is heard so much later at most: the caller's own buffer is still to be played."""


class Call:
    """Await :meth:`hold` once, in a task of its own."""

    def __init__(
        self,
        service: Service,
        principal: Principal,
        *,
        model: str | None = None,
        session: Mapping[str, Any] | None = None,
    ) -> None:
        """
        :param model: the name that was asked for.
        :param session: settings that came with the call.
        :raises ProtocolError: they cannot be used.
        """
        self.id = f"rtc_{secrets.token_hex(16)}"
        self.principal = principal
        self.sidebands = 0
        """WebSockets that follow it."""
        self.transport = WebRtcTransport()
        self._service = service
        self._settings: WebRtcKeys = service.settings.webrtc
        self._events = Outgoing()
        self._said = Incoming()
        self._pipeline = Outgoing()
        self._stop_watching: Callable[[], None] | None = None
        self._line = Line(self.transport, self._take_channel)
        bound = {**(principal.session or {}), **(session or {})}
        self.connection = RealtimeConnection(
            service,
            principal,
            send=self._events.put,
            transport=self.transport,
            model=model,
            kind="transcription" if bound.get("type") == "transcription" else "realtime",
            settings=session,
            protocol="webrtc",
        )

    @property
    def over(self) -> asyncio.Event:
        """Set once nobody is there any more."""
        return self._line.gone

    @property
    def max_sidebands(self) -> int:
        return self._settings.max_sidebands

    def close(self) -> None:
        """End it: what is being said is said to its end."""
        self.connection.close()
        if not self._line.connected.is_set():
            self.hang_up()

    def hang_up(self) -> None:
        """End it at once."""
        self._line.gone.set()

    async def hold(self, offer: str, answered: asyncio.Future[str]) -> None:
        """The whole call.

        :param answered: is given the answer (SDP).
        :raises Refused: there can be no further conversation now.
        :raises Limited: this key has too many of them.
        :raises BadOffer: the offer cannot be used.
        :raises NoPort: there is no port for it.
        :raises Exception: what the conversation raises.
        """
        service = self._service
        with ExitStack() as held:
            held.enter_context(service.access.holding(self.principal, self.hang_up))
            service.admit()
            async with service.conversation(self), self._line as line:
                answer = await line.answer(offer, self._settings, service.access.host, self.principal.address)
                answered.set_result(answer)
                if await self._connected():
                    await self._converse()

    # ------------------------------------------------------------------------ inside

    async def _connected(self) -> bool:
        """Whether the caller came through in time."""
        waiting = {asyncio.ensure_future(event.wait()) for event in (self._line.connected, self._line.gone)}
        try:
            await asyncio.wait(waiting, timeout=self._settings.connect_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if not self._line.connected.is_set():
            logger.info("a call was not connected", extra={"call": self.id})
        return self._line.connected.is_set() and not self._line.gone.is_set()

    async def _converse(self) -> None:
        talking = asyncio.create_task(self.connection.run(), name=f"talk-{self.id}")
        obeying = asyncio.create_task(self._obey(), name=f"obey-{self.id}")
        gone = asyncio.create_task(self._line.gone.wait(), name=f"gone-{self.id}")
        ends_s = asyncio.get_running_loop().time() + self._service.settings.max_session_s
        try:
            done: set[asyncio.Task[Any]] = set()
            while not done and not self._is_hopeless(ends_s):
                done, _ = await asyncio.wait(
                    {talking, obeying, gone}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
            for task in done:
                task.result()  # raises what went wrong
            if talking in done:
                await self._flush()
        finally:
            if self._stop_watching is not None:
                self._stop_watching()
            for task in (talking, obeying, gone):
                task.cancel()
            await asyncio.wait({talking, obeying, gone})

    def _is_hopeless(self, ends_s: float) -> bool:
        if asyncio.get_running_loop().time() >= ends_s:
            return True
        full = self._events.overflowed or self._pipeline.overflowed or self._said.overflowed or self._line.flooded
        if full:
            logger.warning("a call whose data channel is flooded was ended", extra={"call": self.id})
        return full

    async def _obey(self) -> None:
        while True:
            await self.connection.receive(await self._said.get())

    async def _flush(self) -> None:
        await asyncio.wait({gone := asyncio.create_task(self._line.gone.wait())}, timeout=LINGER_S)
        gone.cancel()
        ends_s = asyncio.get_running_loop().time() + FLUSH_S
        while (self._events.unsent_bytes or self._pipeline.unsent_bytes) and not self._line.gone.is_set():
            if asyncio.get_running_loop().time() >= ends_s:
                return
            await asyncio.sleep(0.02)

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if channel.label == EVENTS and not self._events.open:
            channel.on("message", self._said.put)
            self._events.begin(channel)
        elif channel.label == PIPELINE and not self._pipeline.open and self._stop_watching is None:
            self._pipeline.begin(channel)
            self._stop_watching = self.connection.watch(lambda event: self._pipeline.put(about_pipeline(event)))
        else:
            channel.close()
