"""The calls under way, by their ids, and how one begins. Imports nothing of WebRTC until the first one comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from antiphon.server.access.principal import Principal
from antiphon.server.service import Service

if TYPE_CHECKING:
    from antiphon.server.realtime.webrtc.call import Call

logger = logging.getLogger(__name__)

PACKAGE = "antiphon.server.realtime.webrtc"


class Unavailable(Exception):
    """Calls need a package that is not installed."""


class NoSuchCall(Exception):
    """There is no such call, or not for whoever asks."""


class Calls:
    """One server's."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    async def begin(
        self,
        service: Service,
        principal: Principal,
        offer: str,
        *,
        model: str | None = None,
        session: Mapping[str, Any] | None = None,
    ) -> tuple[str, str]:
        """Take a call.

        :param offer: SDP.
        :returns: its id, and the answer (SDP).
        :raises Unavailable: calls are not installed.
        :raises BadOffer: the offer cannot be used.
        :raises ProtocolError: the settings cannot.
        :raises Refused: there can be no further conversation now.
        :raises Limited: this key has too many.
        :raises NoPort: there is no port for it.
        """
        await self._load()
        from antiphon.server.realtime.webrtc.call import Call
        from antiphon.server.realtime.webrtc.offer import checked_offer

        keys = service.settings.webrtc
        checked = checked_offer(offer, reaching_out=keys.stun is not None or keys.turn is not None)
        call = Call(service, principal, model=model, session=session)
        answered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._hold(call, checked, answered), name=call.id)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return call.id, await asyncio.shield(answered)
        except asyncio.CancelledError:  # whoever asked has gone, and does not know the answer
            call.hang_up()
            answered.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else looks
            raise

    def find(self, call_id: str, principal: Principal) -> Call:
        """
        :raises NoSuchCall: there is none, or it is somebody else's.
        """
        call = self._calls.get(call_id)
        if call is None or call.principal.key_id != principal.key_id:
            raise NoSuchCall(f"there is no call '{call_id[:64]}'")
        return call

    # ------------------------------------------------------------------------ inside

    @staticmethod
    async def _load() -> None:
        try:
            await asyncio.to_thread(import_module, f"{PACKAGE}.call")
        except ImportError as error:
            raise Unavailable(
                f"calls need a package that is missing ({error}): pip install 'antiphon[webrtc]'"
            ) from error

    async def _hold(self, call: Call, offer: str, answered: asyncio.Future[str]) -> None:
        self._calls[call.id] = call
        try:
            await call.hold(offer, answered)
        except Exception as error:
            if answered.done():
                logger.exception("a call broke", extra={"call": call.id})
            else:
                answered.set_exception(error)
        finally:
            del self._calls[call.id]
            answered.cancel()
