"""The server, made known in the local network (mDNS), so that Home Assistant finds it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.engines.errors import EngineUnavailable
from antiphon.pipeline.errors import ConfigError

SERVICE_TYPE = "_wyoming._tcp.local."


def check_discovery(*, offline: bool) -> None:
    """
    :raises ConfigError: nothing may leave this machine.
    :raises EngineUnavailable: the package is missing.
    """
    if offline:
        raise ConfigError(
            "making the server known sends to the local network, which 'session.offline: true' forbids",
            key="server.wyoming.zeroconf",
            hint="set session.offline: false, or give programs the address by hand",
        )
    try:
        import zeroconf  # noqa: F401
    except ImportError as error:
        raise EngineUnavailable(
            "server.wyoming.zeroconf needs the package zeroconf", hint='pip install "antiphon[server]"'
        ) from error


@asynccontextmanager
async def announced(name: str, host: str, port: int) -> AsyncIterator[None]:
    """While inside, the server can be found.

    :param host: an address that others reach; of `0.0.0.0` and `::`, this machine's own address is told.
    """
    from zeroconf import InterfaceChoice
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    address = ipaddress.ip_address(host if not ipaddress.ip_address(host).is_unspecified else await _own_address())
    info = AsyncServiceInfo(
        SERVICE_TYPE, f"{name}.{SERVICE_TYPE}", addresses=[address.packed], port=port, server=f"{name}.local."
    )
    interfaces = InterfaceChoice.Default if address.version == 6 else [str(address)]
    zeroconf = AsyncZeroconf(interfaces=interfaces)
    try:
        await zeroconf.async_register_service(info)
        yield
        await zeroconf.async_unregister_service(info)
    finally:
        await zeroconf.async_close()


async def _own_address() -> str:
    """The address from which this machine would speak to the local network; nothing is sent to find out."""

    def look() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("224.0.0.251", 5353))
            return str(probe.getsockname()[0])

    return await asyncio.to_thread(look)
