"""What is on its way to one client: messages in order, audio that can be taken back, and a bound."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

MAX_AUDIO_BYTES = 1 << 20
"""Audio that may wait to be sent; past that the voice waits (22 s at 24 kHz)."""
MAX_WAITING_CHARS = 4 << 20
"""Of all that waits; past that what the client says is not read, which would only make more of it."""
PATIENCE_S = 20.0
"""A client that has not taken a message for so long has gone away."""

Message = bytes | str


class SlowClient(Exception):
    """Nothing is taken at the other end."""


class Outbox:
    """One sender takes from it (:meth:`run`), everybody else puts into it without waiting."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._waiting: deque[tuple[Message, bool]] = deque()
        """Each message, and whether it is audio."""
        self._audio_bytes = 0
        self._chars = 0
        """Of all that waits, audio too."""
        self._more = asyncio.Event()
        self._less = asyncio.Event()
        self._closed = False
        self._sending = False

    def put(self, message: str) -> None:
        """A message that will be sent, whatever is dropped."""
        if not self._closed:
            self._chars += len(message)
            self._waiting.append((message, False))
            self._more.set()

    def put_audio(self, data: Message) -> None:
        if not self._closed:
            self._audio_bytes += len(data)
            self._chars += len(data)
            self._waiting.append((data, True))
            self._more.set()

    def drop_audio(self) -> None:
        """Take back the audio that has not been sent."""
        self._waiting = deque(entry for entry in self._waiting if not entry[1])
        self._chars -= self._audio_bytes
        self._audio_bytes = 0
        self._less.set()

    async def room(self) -> None:
        """Wait while too much audio waits to be sent."""
        while self._audio_bytes > MAX_AUDIO_BYTES and not self._closed:
            self._less.clear()
            await self._less.wait()

    async def few(self, messages: int) -> None:
        """Wait while more messages than that wait to be sent, or too much in all."""
        while (len(self._waiting) > messages or self._chars > MAX_WAITING_CHARS) and not self._closed:
            self._less.clear()
            await self._less.wait()

    async def flushed(self) -> None:
        """Wait until everything has been handed to the connection."""
        while (self._waiting or self._sending) and not self._closed:
            self._less.clear()
            await self._less.wait()

    def close(self) -> None:
        """Nothing more is sent; nobody waits."""
        self._closed = True
        self._waiting.clear()
        self._audio_bytes = self._chars = 0
        self._more.set()
        self._less.set()

    async def run(self) -> None:
        """Send until :meth:`close`.

        :raises SlowClient: a message was not taken within :data:`PATIENCE_S`.
        :raises Exception: what sending raises.
        """
        while not self._closed:
            if not self._waiting:
                self._more.clear()
                await self._more.wait()
                continue
            message, is_audio = self._waiting.popleft()
            self._sending = True
            self._chars -= len(message)
            if is_audio:
                self._audio_bytes -= len(message)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self._send(message)
            except TimeoutError:
                raise SlowClient(f"no message was taken for {PATIENCE_S:g} s") from None
            finally:
                self._sending = False
                self._less.set()
