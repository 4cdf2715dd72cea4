"""The data channels of a call: `oai-events` for the protocol, `antiphon` for the pipeline's own events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

from aiortc import RTCDataChannel

from antiphon.pipeline.events import Event
from antiphon.server.realtime.protocol import ProtocolError, server_events

logger = logging.getLogger(__name__)

EVENTS, PIPELINE = "oai-events", "antiphon"
"""Their labels. The caller creates them."""
MAX_EARLY = 1000
"""Events that wait for the channel to open; past that the oldest are lost."""
MAX_UNSENT_BYTES = 4 << 20
"""What may wait to be sent; a caller who takes less is gone."""
MAX_UNREAD = 512
MAX_UNREAD_BYTES = 4 << 20
"""What a caller may say before it is obeyed; a flood ends the call."""


class Flooded(Exception):
    """More waits at one end than there may."""


class Outgoing:
    """Messages to one channel, from before it is open until it is closed."""

    def __init__(self) -> None:
        self.overflowed = False
        """The caller takes nothing any more."""
        self._channel: RTCDataChannel | None = None
        self._early: deque[str] = deque(maxlen=MAX_EARLY)

    @property
    def open(self) -> bool:
        return self._channel is not None and self._channel.readyState == "open"

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._channel is None else self._channel.bufferedAmount

    def begin(self, channel: RTCDataChannel) -> None:
        self._channel = channel
        while self._early:
            self._put(self._early.popleft())

    def put(self, message: Mapping[str, Any]) -> None:
        """Send it, now or when the channel opens. Never waits."""
        text = json.dumps(_without_sound(message), ensure_ascii=False, allow_nan=False)
        if self._channel is None:
            self._early.append(text)
        elif not self._put(text):
            self._put(json.dumps(_too_long(str(message.get("type")), len(text.encode()))))

    def _put(self, text: str) -> bool:
        """False: it is longer than the other end takes."""
        assert self._channel is not None
        if not self.open:
            return True  # closed: nobody listens any more
        if self.unsent_bytes > MAX_UNSENT_BYTES:
            self.overflowed = True
            return True
        try:
            self._channel.send(text)
        except ValueError:
            return False
        return True


class Incoming:
    """What a caller said, until it is obeyed."""

    def __init__(self) -> None:
        self.overflowed = False
        self._unread: asyncio.Queue[str | bytes] = asyncio.Queue()
        self._bytes = 0

    def put(self, message: str | bytes) -> None:
        """Never waits."""
        self._bytes += len(message)
        self._unread.put_nowait(message)
        if self._unread.qsize() > MAX_UNREAD or self._bytes > MAX_UNREAD_BYTES:
            self.overflowed = True

    async def get(self) -> str | bytes:
        message = await self._unread.get()
        self._bytes -= len(message)
        return message


def about_pipeline(event: Event) -> dict[str, Any]:
    """An event of the pipeline as it goes over the channel `antiphon`; the form of the plain stream."""
    return {"type": "event", "event": event.to_dict()}


def _without_sound(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sound of an item that was asked for is left out. Clients ask for items in every turn, a channel takes tens of
    milliseconds of the machine for a few seconds of sound, and the caller has heard it; a WebSocket beside gets it."""
    if message.get("type") != "conversation.item.retrieved" or "content" not in message["item"]:
        return message
    content = [{key: part[key] for key in part if key != "audio"} for part in message["item"]["content"]]
    return {**message, "item": {**message["item"], "content": content}}


def _too_long(kind: str, size: int) -> dict[str, Any]:
    problem = ProtocolError(
        f"An event of the type '{kind}' has {size} bytes, more than this data channel takes; a WebSocket with the "
        "call's id takes it.",
        code="event_too_long",
        type="server_error",
    )
    return dict(server_events.error(problem))
