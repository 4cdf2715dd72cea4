"""An engine's process dies while people talk to a server: it alone is started again, and at most one turn is lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import numpy as np
import psutil
from hosted_stt import HostedSTT
from network_clock import until
from operated import figures
from served import config, serving
from websockets.asyncio.client import ClientConnection, connect

from antiphon.engines.config import EngineOptions
from antiphon.pipeline.config import Config, engine_block

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(320)) * 32767).astype("<i2").tobytes()
APOLOGY = "Sorry."


class Talker:
    """Asks again and again, on one connection; a microphone that never stops."""

    def __init__(self, client: ClientConnection) -> None:
        self.client = client
        self.answers: list[str] = []
        self.ended = 0
        """Turns that are over, however they went."""
        self._reading = asyncio.create_task(self._read())

    async def ask(self) -> None:
        """A question, and silence until its turn is over."""
        ended = self.ended
        for _ in range(30):
            await asyncio.sleep(0.02)
            await self.client.send(TONE)
        async with asyncio.timeout(60):
            while self.ended == ended:
                await asyncio.sleep(0.02)
                await self.client.send(bytes(640))

    async def _read(self) -> None:
        await self.client.send(json.dumps({"type": "settings", "events": True}))
        async for message in self.client:
            told = json.loads(message) if isinstance(message, str) else {}
            self.ended += told.get("event", {}).get("type") == "turn_ended"
            if told.get("role") == "agent" and told["final"]:
                self.answers.append(told["text"])

    async def leave(self) -> None:
        self._reading.cancel()
        await asyncio.wait({self._reading})


def hosted() -> Config:
    given = config(session={"on_error": APOLOGY})
    assert HostedSTT.engine == "hosted"
    return given.model_copy(update={"stt": (engine_block("stt", "hosted_stt:HostedSTT", EngineOptions()),)})


def child() -> psutil.Process:
    (found,) = [one for one in psutil.Process().children() if "host_child" in " ".join(one.cmdline())]
    return found


def test_a_crash_costs_one_turn_at_most_and_the_others_go_on() -> None:
    async def main() -> None:
        async with serving(hosted()) as (address, service):
            url = f"ws://{address}/v1/stream"
            async with connect(url) as one, connect(url) as other:
                first, second = Talker(one), Talker(other)
                await asyncio.gather(first.ask(), second.ask())
                assert first.answers == second.answers == ["It is noon."]
                before = await asyncio.to_thread(child)
                asking = asyncio.create_task(first.ask())
                await until(lambda: service.assembly.host.stats()["hosted"].running)  # its words are being transcribed
                os.kill(before.pid, signal.SIGKILL)
                await asking
                await asyncio.gather(first.ask(), second.ask())
                after = await asyncio.to_thread(child)
                seen = figures(service)
                assert after.pid != before.pid
                assert service.sessions == 2, "nobody was hung up on"
                assert second.answers == ["It is noon."] * 2
                assert first.answers[-1] == "It is noon." and first.answers.count("It is noon.") >= 2
                assert seen["antiphon_engine_crashes_total{worker=hosted}"] == 1
                assert seen.get("antiphon_turns_total{protocol=stream,status=failed}", 0) <= 1
                assert seen["antiphon_turns_total{protocol=stream,status=completed}"] >= 4
                for talker in (first, second):
                    await talker.leave()

    asyncio.run(main())
