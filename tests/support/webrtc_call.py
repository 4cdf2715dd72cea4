"""A server and a caller, joined: for tests of calls on sockets of this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import numpy as np
from network_clock import run_networked
from numpy.typing import NDArray
from served import config, serving
from webrtc_caller import RATE_HZ, Caller

from antiphon.pipeline.config import Config
from antiphon.server.service import Service

CALLS = "/v1/realtime/calls"
SDP = {"Content-Type": "application/sdp"}


def tone(duration_s: float) -> NDArray[np.int16]:
    """What the scripted VAD takes for speech."""
    count = round(duration_s * RATE_HZ)
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(count) / RATE_HZ) * 32767).astype(np.int16)


class Phone:
    """What a test has at hand: the server's HTTP side, and callers."""

    def __init__(self, address: str, service: Service, http: httpx.AsyncClient) -> None:
        self.address = address
        self.service = service
        self.http = http

    async def dial(
        self, caller: Caller, *, session: str | None = None, token: str | None = None, query: str = ""
    ) -> str:
        """Begin a call; returns its id once it is connected."""
        answer = await self.ask(await caller.offer(), session=session, token=token, query=query)
        assert answer.status_code == 201, answer.text
        await caller.accept(answer.text)
        await caller.until(lambda: caller.peer.connectionState == "connected")
        return answer.headers["Location"].rpartition("/")[2]

    async def ask(
        self, offer: str, *, session: str | None = None, token: str | None = None, query: str = ""
    ) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if session is None:
            return await self.http.post(CALLS + query, content=offer, headers={**SDP, **headers})
        parts: Any = {"sdp": (None, offer, "application/sdp"), "session": (None, session, "application/json")}
        return await self.http.post(CALLS + query, files=parts, headers=headers)

    async def hang_up(self, call_id: str) -> httpx.Response:
        return await self.http.post(f"{CALLS}/{call_id}/hangup")

    async def idle(self, timeout_s: float = 60) -> None:
        """Wait until no conversation is under way."""
        async with asyncio.timeout(timeout_s):
            while self.service.sessions:  # noqa: ASYNC110  (the service tells nobody)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def phone(given: Config | None = None) -> AsyncIterator[Phone]:
    """A server. When it is left, nothing of the calls may be there any more: no task, no thread."""
    async with serving(given or config()) as (address, service):
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=30) as http:
            before = set(asyncio.all_tasks())
            made = Phone(address, service, http)
            yield made
            await made.idle()
            await asyncio.sleep(0.05)
            left = {task.get_name() for task in asyncio.all_tasks() - before}
            assert not {name for name in left if name.startswith(("rtc_", "talk-", "obey-", "gone-", "session-"))}, left
            assert not [one.name for one in threading.enumerate() if "decoder" in one.name]


def on_the_phone(talk: Callable[[Phone], Awaitable[None]], given: Config | None = None) -> None:
    async def main() -> None:
        async with phone(given) as made:
            await talk(made)

    run_networked(main())
