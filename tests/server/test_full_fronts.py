"""One conversation more than the server takes, by every front; then one by each; and what the figures say of them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest
from network_clock import run_networked
from prometheus_client.parser import text_string_to_metric_families
from served import config
from talk import ask
from webrtc_caller import Caller as WebRtcCaller
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from wyoming.pipeline import PipelineStage, RunPipeline
from wyoming_talk import client, speak_live, until

from antiphon.server.fronts import Fronts
from antiphon.server.observing.catalogue import METRICS, PROCESS_METRICS
from antiphon.server.service import Service
from antiphon.server.serving import listen, serve
from antiphon.server.telephony.audiosocket_wire import HANGUP, HEADER_BYTES, Packet, parse_header

REFUSED_HTTP = {"stream": "/v1/stream", "realtime": "/v1/realtime", "twilio": "/v1/telephony/twilio"}
PORTS = {"wyoming": {"port": 0}, "audiosocket": {"port": 0}}


@dataclass
class House:
    """A server with all its fronts."""

    address: str
    fronts: Fronts
    service: Service

    async def knock(self, front: str) -> str:
        """Try to begin a conversation: how it was refused, or "in"; then leave."""
        return await getattr(self, f"_{front}", lambda: self._websocket(front))()

    async def _websocket(self, front: str) -> str:
        try:
            async with connect(f"ws://{self.address}{REFUSED_HTTP[front]}") as one:
                if front == "stream":
                    await one.send(bytes(640))
                if front == "twilio":
                    media = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
                    start = {"accountSid": "AC1", "streamSid": "MZ1", "callSid": "CA1", "tracks": ["inbound"],
                             "mediaFormat": media, "customParameters": {}}  # fmt: skip
                    await one.send(json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"}))
                    await one.send(json.dumps({"event": "start", "streamSid": "MZ1", "start": start}))
                await self.somebody_in()
                return "in"
        except InvalidStatus as error:
            assert error.response.status_code == 503 and int(error.response.headers["retry-after"]) > 0
            return str(json.loads(error.response.body or b"")["error"]["code"])

    async def _webrtc(self) -> str:
        async with WebRtcCaller() as caller, httpx.AsyncClient(base_url=f"http://{self.address}") as http:
            headers = {"Content-Type": "application/sdp"}
            answer = await http.post("/v1/realtime/calls", content=await caller.offer(), headers=headers)
            if answer.status_code == 201:
                await caller.accept(answer.text)
                await self.somebody_in()
                await http.post(answer.headers["Location"] + "/hangup")
                return "in"
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
            return str(answer.json()["error"]["code"])

    async def _wyoming(self) -> str:
        async with client(self.fronts.addresses["wyoming"]) as one:
            await one.write_event(RunPipeline(PipelineStage.ASR, PipelineStage.TTS).event())
            await speak_live(one, 0.3)
            last = (await until(one, "error", "voice-started"))[-1]
            return str(last.data["code"]) if last.type == "error" else "in"

    async def _audiosocket(self) -> str:
        reader, writer = await asyncio.open_connection(*self.fronts.addresses["audiosocket"])
        try:
            writer.write(Packet(0x01, uuid.uuid4().bytes).encoded() + Packet(0x10, bytes(320)).encoded())
            async with asyncio.timeout(60):
                kind, _ = parse_header(await reader.readexactly(HEADER_BYTES))
            return "hung up" if kind == HANGUP else "in"
        finally:
            writer.transport.abort()

    async def somebody_in(self) -> None:
        async with asyncio.timeout(20):
            while not [name for talk in self.service.talks for name in talk.sessions]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def nobody_in(self) -> None:
        async with asyncio.timeout(20):
            while self.service.sessions:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


FRONTS = (*REFUSED_HTTP, "webrtc", "wyoming", "audiosocket")


def in_a_house(server: dict[str, Any], talk: Callable[[House], Awaitable[None]]) -> None:
    @asynccontextmanager
    async def house() -> AsyncIterator[House]:
        given = config({**PORTS, **server})
        listener, fronts, service, ready = listen(given.server), Fronts(given), Service(given), asyncio.Event()
        serving = asyncio.create_task(
            serve(given, listener, service=service, fronts=fronts, on_ready=lambda _: ready.set())
        )
        async with asyncio.timeout(60):
            await ready.wait()
        try:
            yield House("{}:{}".format(*listener.getsockname()[:2]), fronts, service)
        finally:
            signal.raise_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                await serving

    async def main() -> None:
        async with house() as one:
            await talk(one)

    run_networked(main())


@pytest.mark.parametrize(
    ("server", "code"), [({"max_sessions": 1}, "full"), ({"max_sessions": 9, "capacity": 1}, "busy")]
)
def test_one_more_than_there_is_room_for_is_told_by_every_front_and_taken_once_there_is(
    server: dict[str, Any], code: str
) -> None:
    async def talk(house: House) -> None:
        async with connect(f"ws://{house.address}/v1/stream") as first:
            await first.send(bytes(640))
            await house.somebody_in()
            refused = {front: await house.knock(front) for front in FRONTS}
            assert refused == {**dict.fromkeys(FRONTS, code), "audiosocket": "hung up"}
            assert house.service.sessions == 1
        for front in FRONTS:
            await house.nobody_in()
            assert await house.knock(front) == "in", front
        await house.nobody_in()
        page = (await house.service.figures())[0].decode()
        assert f'antiphon_admission_refused_total{{reason="{code}"}} {len(FRONTS)}.0' in page

    in_a_house(server, talk)


def test_what_a_scrape_says_after_conversations_by_every_front() -> None:
    """As an operator reads it: units, endings, few series, and none that stays behind with a conversation's name."""

    async def talk(house: House) -> None:
        for front in FRONTS:
            await house.nobody_in()
            assert await house.knock(front) == "in"
        async with connect(f"ws://{house.address}/v1/stream") as one:
            await ask(one)
        await house.nobody_in()
        page = (await house.service.figures())[0].decode()
        families = {family.name: family for family in text_string_to_metric_families(page)}
        for metric in (*METRICS, *PROCESS_METRICS):
            family = families[metric.name.removesuffix("_total")]
            assert family.documentation == metric.meaning or metric in PROCESS_METRICS
            assert (metric.kind == "counter") == metric.name.endswith("_total"), metric.name
            assert not re.search(r"_(ms|kb|mb|minutes|percent)(_|$)", metric.name), "base units"
            assert list(metric.buckets) == sorted(set(metric.buckets))
        samples = [sample for family in families.values() for sample in family.samples]
        told = {sample.labels["protocol"] for sample in samples if sample.name == "antiphon_sessions_total"}
        assert told == {*FRONTS}
        assert {sample.value for sample in samples if sample.name == "antiphon_sessions_open"} == {0}
        values = {value for sample in samples for name, value in sample.labels.items() if name not in ("le", "version")}
        assert not [
            value for value in values if re.search(r"(sess|req|con|rtc|call)_[0-9A-Za-z]{6}|127\.0\.0\.1|noon", value)
        ]
        keys = {sample.labels["key"] for sample in samples if "key" in sample.labels}
        assert keys <= {"anyone", "wyoming:loopback", "audiosocket:loopback"}
        assert len(samples) < 700, "each front adds a few; no conversation adds any"

    in_a_house({"capacity": "off"}, talk)
