"""The end of a server: what is waited for, for how long, and what may go wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from network_clock import run_networked
from operated import operating
from served import config, serving

from antiphon.engines.testing import run_virtual
from antiphon.server.fronts import Fronts
from antiphon.server.service import Refused


@pytest.mark.parametrize(("takes_s", "waits_s"), [(3.0, 3.0), (60.0, 5.0)])
def test_requests_under_way_are_answered_if_they_take_no_longer_than_conversations_may(
    takes_s: float, waits_s: float
) -> None:
    async def main() -> None:
        async with operating(config({"drain_s": 5.0})) as service:

            async def request(seconds: float) -> None:
                with service.using():
                    await asyncio.sleep(seconds)

            before = asyncio.create_task(request(takes_s))
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            draining = asyncio.create_task(service.drain())
            await asyncio.sleep(0.5)
            with pytest.raises(Refused, match="shutting down"):
                service.must_be_ready()
            after = asyncio.create_task(request(60.0))  # such as whether it is ready: nobody waits for that
            await draining
            assert loop.time() - began_s == pytest.approx(waits_s)
            for task in (before, after):
                task.cancel()

    run_virtual(main())


class Talking:
    closed = False

    def close(self) -> None:
        self.closed = True


class Broken(Talking):
    def close(self) -> None:
        super().close()
        raise RuntimeError("it cannot be closed")


def test_one_conversation_that_cannot_be_closed_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with operating(config({"drain_s": 1.0})) as service:
            talking = [Broken(), Talking(), Broken(), Talking()]
            for one in talking:
                service.talks.begin(one, waits=None)
            await service.drain()
            assert all(one.closed for one in talking)

    run_virtual(main())
    assert caplog.messages.count("a conversation was not ended in order") == 2


def test_the_first_signal_ends_the_server_whatever_breaks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a port cannot be closed")

    async def main() -> None:
        async with serving(config()):
            pass

    monkeypatch.setattr(Fronts, "drain", broken)
    run_networked(main())
    assert "not everything was ended in order" in caplog.messages
