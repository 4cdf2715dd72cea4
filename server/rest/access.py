"""How the calls come to the service behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from antiphon.engines.host import Priority, current_ticket
from antiphon.pipeline.patience import end_tasks
from antiphon.server.service import Service

T = TypeVar("T")

_LOOK_S = 0.5


def _any(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _ready(request: Request) -> Service:
    service = _any(request)
    service.must_be_ready()
    return service


AnyService = Annotated[Service, Depends(_any)]
"""The service, whatever its state."""
Ready = Annotated[Service, Depends(_ready)]
"""The service with its engines; while they are loaded, and at the end, the call is refused (503)."""


def behind_speech() -> None:
    """What this request asks of engines waits while somebody speaks: conversations go first."""
    current_ticket.set(replace(current_ticket.get(), session="rest", priority=Priority.RERUN))


class ClientGone(Exception):
    """Raised where nobody waits for the answer any more."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work; it is cancelled when the client has closed the connection.

    For answers that are sent as a whole: where pieces are sent, sending tells.

    :raises ClientGone: it has.
    """
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait((task,), timeout=_LOOK_S))[0]:
            if await request.is_disconnected():
                raise ClientGone
        return task.result()
    finally:
        await end_tasks([task])
