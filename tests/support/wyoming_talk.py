"""A Wyoming server of ours on a socket, and what its clients do: with the package's own client, as Home Assistant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from served import config
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event

from antiphon.pipeline.config import Config
from antiphon.server.service import Service
from antiphon.server.wyoming.server import WyomingServer, listen_wyoming

RATE_HZ = 16000
TONE = (0.3 * np.sin(2 * np.pi * 220 / RATE_HZ * np.arange(RATE_HZ)) * 32767).astype("<i2").tobytes()
FORM = {"rate": RATE_HZ, "width": 2, "channels": 1}


def wyoming_config(
    wyoming: dict[str, Any] | None = None, server: dict[str, Any] | None = None, **fields: Any
) -> Config:
    return config({"wyoming": {"port": 0, **(wyoming or {})}, **(server or {})}, **fields)


@asynccontextmanager
async def wyoming_server(given: Config | None = None) -> AsyncIterator[tuple[tuple[str, int], Service]]:
    """Its address, and the service behind it."""
    given = given or wyoming_config()
    listener = listen_wyoming(given)
    async with Service(given) as service:
        await service.load()
        async with WyomingServer(service, listener) as server:
            yield server.address or ("", 0), service


@asynccontextmanager
async def client(address: tuple[str, int]) -> AsyncIterator[AsyncTcpClient]:
    async with AsyncTcpClient(*address, connect_timeout=5, read_timeout=15) as one:
        yield one


async def until(one: AsyncTcpClient, *kinds: str) -> list[Event]:
    """The events up to one of these kinds, that one included; the connection's end ends it, too."""
    events: list[Event] = []
    while (event := await one.read_event()) is not None:
        events.append(event)
        if event.type in kinds:
            break
    return events


def kinds(events: list[Event]) -> list[str]:
    """Their types; runs of one type count once."""
    found: list[str] = []
    for event in events:
        if found[-1:] != [event.type]:
            found.append(event.type)
    return found


def sound(events: list[Event]) -> bytes:
    return b"".join(event.payload or b"" for event in events if event.type == "audio-chunk")


async def send_audio(one: AsyncTcpClient, pcm: bytes, *, transcribe: Transcribe | None = None) -> None:
    """As Home Assistant sends a recording."""
    if transcribe is not None:
        await one.write_event(transcribe.event())
    await one.write_event(AudioStart(**FORM).event())
    for at in range(0, len(pcm), 2048):
        await one.write_event(AudioChunk(audio=pcm[at : at + 2048], **FORM).event())
    await one.write_event(AudioStop().event())


async def speak_live(one: AsyncTcpClient, seconds: float, *, loud: bool = True) -> None:
    """As a microphone."""
    for at in range(0, round(seconds * RATE_HZ) * 2, 640):
        await asyncio.sleep(0.02)
        piece = TONE[at % len(TONE) :][:640] if loud else bytes(640)
        await one.write_event(AudioChunk(audio=piece, **FORM).event())
