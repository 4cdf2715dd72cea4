"""Voice satellites: programs that listen for a server, as Home Assistant is one. We connect and serve."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from antiphon.engines.net import is_loopback
from antiphon.engines.wyoming_wire import MAX_HEADER_BYTES, event_bytes
from antiphon.pipeline.errors import ConfigError
from antiphon.server.access.principal import Principal, calling
from antiphon.server.service import Service
from antiphon.server.wyoming.connection import WyomingConnection

if TYPE_CHECKING:
    from antiphon.server.wyoming.thinking import Talks

logger = logging.getLogger(__name__)

RECONNECT_S = 5.0
VIA = "wyoming:satellite"
"""As whose use what they use is counted."""
_CONNECT_S = 10.0


def check_satellites(uris: tuple[str, ...], *, offline: bool) -> None:
    """
    :raises ConfigError: an address is none, or may not be connected to.
    """
    for uri in uris:
        parts = urlsplit(uri)
        port = None
        with contextlib.suppress(ValueError):
            port = parts.port
        if parts.scheme != "tcp" or not parts.hostname or port is None:
            raise ConfigError(f"'{uri}' is no address of a satellite", key="server.wyoming.satellites",
                              hint="write it like tcp://192.168.1.20:10700")  # fmt: skip
        if offline and not is_loopback(uri):
            raise ConfigError(
                f"the satellite '{uri}' is not this machine, which 'session.offline: true' forbids to connect to",
                key="server.wyoming.satellites",
                hint="set session.offline: false",
            )


async def keep_connected(service: Service, talks: Talks, uri: str) -> None:
    """Serve a satellite for as long as the server runs; one that is gone is looked for again and again."""
    parts = urlsplit(uri)
    told = False
    while not service.draining:
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MAX_HEADER_BYTES)
        except (OSError, TimeoutError) as error:
            if not told:
                logger.warning("no connection to a satellite", extra={"uri": uri, "code": type(error).__name__})
            told = True
        else:
            told = False
            logger.info("connected to a satellite", extra={"uri": uri})
            try:
                # The operator has named it: it is asked for no more.
                with calling(Principal("", frozenset({"realtime"}), address=parts.hostname or "", via=VIA)):
                    await _serve(service, talks, reader, writer)
            except Exception:
                logger.exception("the connection to a satellite broke", extra={"uri": uri})
            finally:
                writer.transport.abort()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        await asyncio.sleep(RECONNECT_S)


async def _serve(service: Service, talks: Talks, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from wyoming.info import Describe
    from wyoming.satellite import RunSatellite

    # It is asked what it is, as it expects; whatever that is, it may begin.
    for event in (Describe().event(), RunSatellite().event()):
        writer.write(event_bytes(event))
    await writer.drain()
    await WyomingConnection(service, reader, writer, talks, idle_s=math.inf).run()
