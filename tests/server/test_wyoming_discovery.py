"""The Wyoming server, made known by mDNS: found by another program on this machine's loopback alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from wyoming_talk import wyoming_config

from antiphon.pipeline.errors import ConfigError
from antiphon.server.wyoming.discovery import SERVICE_TYPE, announced
from antiphon.server.wyoming.server import listen_wyoming


def test_it_is_found_while_it_runs_and_gone_after() -> None:
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    async def look(name: str) -> Any:
        seeking = AsyncZeroconf(interfaces=["127.0.0.1"])
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, f"{name}.{SERVICE_TYPE}")
            found = await info.async_request(seeking.zeroconf, 1500)
            return (info.parsed_addresses(), info.port) if found else None
        finally:
            await seeking.async_close()

    async def main() -> Any:
        async with announced("antiphon-test", "127.0.0.1", 10400):
            found = await look("antiphon-test")
        return found, await look("antiphon-test")

    try:
        found, after = asyncio.run(main())
    except OSError as error:
        pytest.skip(f"no multicast on this machine's loopback: {error}")
    if found is None:
        pytest.skip("no multicast on this machine's loopback")
    assert found == (["127.0.0.1"], 10400) and after is None


def test_offline_nothing_is_made_known() -> None:
    with pytest.raises(ConfigError, match="sends to the local network"):
        listen_wyoming(wyoming_config({"zeroconf": True}))


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from antiphon.engines.errors import EngineUnavailable
    from antiphon.server.wyoming.discovery import check_discovery

    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(EngineUnavailable, match="the package zeroconf") as caught:
        check_discovery(offline=False)
    assert "antiphon[server]" in caught.value.hint
