"""A Realtime client without sockets, on scripted engines and a virtual clock; every event that it gets is validated."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from loud_vad import LoudVad
from realtime_schema import validate
from scripted_config import GivenOptions, Script

from antiphon.engines.testing import Heard, Reply, run_virtual
from antiphon.pipeline.config import Config, engine_block
from antiphon.pipeline.config.model import ServerConfig
from antiphon.server.access.principal import ANYONE, Principal
from antiphon.server.peer import Peer
from antiphon.server.realtime.socket import RealtimeSocket
from antiphon.server.service import Service

RATE_HZ = 24000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ)) * 32767).astype("<i2")
AUDIO_DELTA = "response.output_audio.delta"


def config(server: dict[str, Any] | None = None, **fields: Any) -> Config:
    """Hears "what time is it" and answers "It is noon.", where nothing else is said."""
    sections = fields.pop("sections", {})
    script = Script(
        **{"stt": [Heard("what time is it", 0.1)], "llm": [Reply.of("It is noon.")], "repeat": True, **fields}
    )
    vad = engine_block("vad", "scripted_config:given", GivenOptions(engine=LoudVad()))
    made = script.config(server=ServerConfig(**{"port": 0, **(server or {})}), **sections)
    return made.model_copy(update={"vad": vad})


class RealtimeClient:
    """Sends events, and keeps what comes, with the time at which it came."""

    def __init__(self) -> None:
        self.to_server: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self.events: list[dict[str, Any]] = []
        self.at_s: list[float] = []
        self._came = asyncio.Event()

    async def receive(self) -> bytes | str | None:
        return await self.to_server.get()

    async def send(self, message: bytes | str) -> None:
        event = json.loads(message)
        validate(event)
        self.events.append(event)
        self.at_s.append(asyncio.get_running_loop().time())
        self._came.set()

    # ------------------------------------------------------------------------ to the server

    def tell(self, kind: str, **fields: Any) -> None:
        self.to_server.put_nowait(json.dumps({"type": kind, **fields}))

    def update(self, **session: Any) -> None:
        self.tell("session.update", session={"type": "realtime", **session})

    def detect(self, detection: dict[str, Any] | None) -> None:
        self.update(audio={"input": {"turn_detection": detection}})

    def write(self, text: str, role: str = "user", **fields: Any) -> None:
        kind = "output_text" if role == "assistant" else "input_text"
        content = [{"type": kind, "text": text}]
        item = {"type": "message", "role": role, "content": content, **fields.pop("item", {})}
        self.tell("conversation.item.create", item=item, **fields)

    def respond(self, **response: Any) -> None:
        self.tell("response.create", **({"response": response} if response else {}))

    def append(self, samples: np.ndarray[Any, Any]) -> None:
        self.tell("input_audio_buffer.append", audio=base64.b64encode(samples.astype("<i2").tobytes()).decode())

    async def speak(self, seconds: float, *, loud: bool = True) -> None:
        for at in range(0, round(seconds * RATE_HZ), 480):
            await asyncio.sleep(0.02)
            self.append(np.resize(TONE, 480) if loud else np.zeros(480))
            assert at >= 0

    async def cough(self, seconds: float) -> None:
        """A sound of which the VAD is not sure."""
        for _ in range(round(seconds * 50)):
            await asyncio.sleep(0.02)
            self.append(np.resize(TONE // 3, 480))

    async def be_silent(self, seconds: float) -> None:
        await self.speak(seconds, loud=False)

    # ------------------------------------------------------------------------ what came

    async def wait_for(self, kind: str, count: int = 1, timeout_s: float = 60.0) -> dict[str, Any]:
        """The `count`th event of this type."""
        async with asyncio.timeout(timeout_s):
            while len(found := self.of(kind)) < count:
                self._came.clear()
                await self._came.wait()
        return found[count - 1]

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] in kinds]

    @property
    def kinds(self) -> list[str]:
        """Types in order; deltas in a row count once."""
        found: list[str] = []
        for event in self.events:
            if not (found and found[-1] == event["type"] and event["type"].endswith(".delta")):
                found.append(event["type"])
        return found

    @property
    def audio(self) -> bytes:
        return b"".join(base64.b64decode(event["delta"]) for event in self.of(AUDIO_DELTA))

    @property
    def said(self) -> list[str]:
        """By response: what its last event has of its words."""
        return [words_of(event["response"]) for event in self.of("response.done")]

    @property
    def statuses(self) -> list[str]:
        return [event["response"]["status"] for event in self.of("response.done")]

    @property
    def problems(self) -> list[str]:
        return [event["error"]["code"] for event in self.of("error")]

    def time_of(self, kind: str, count: int = 1) -> float:
        return [at for at, event in zip(self.at_s, self.events, strict=True) if event["type"] == kind][count - 1]


def words_of(response: dict[str, Any]) -> str:
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    return " ".join(part.get("transcript") or part.get("text") or "" for part in parts)


def talk_to(
    talk: Callable[[RealtimeClient], Awaitable[None]],
    given: Config | None = None,
    *,
    intent: str = "",
    model: str | None = "gpt-realtime",
    principal: Principal = ANYONE,
) -> RealtimeClient:
    """A conversation in which the client does `talk` and then goes."""

    async def main() -> RealtimeClient:
        client = RealtimeClient()
        async with Service(given or config()) as service:
            await service.load()
            peer = Peer(client.receive, client.send)
            socket = RealtimeSocket(service, principal, peer, model=model, intent=intent)
            async with service.conversation(socket):
                serving = asyncio.create_task(socket.run())
                talking = asyncio.ensure_future(talk(client))
                await asyncio.wait({serving, talking}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
                await talking
                client.to_server.put_nowait(None)
                async with asyncio.timeout(60):
                    await serving
        return client

    return run_virtual(main())
