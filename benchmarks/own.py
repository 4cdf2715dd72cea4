"""Antiphon itself as a system under test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.feed import CHUNK
from antiphon.benchmarks.subject import Listener
from antiphon.engines.audio import AudioFrame, Samples
from antiphon.engines.host import EngineHost
from antiphon.pipeline.build import Assembly
from antiphon.pipeline.config import Config
from antiphon.pipeline.transports.base import TransportCapabilities

CLOSING_S = 10.0
"""How long a session may take to end by itself after its input has ended."""


class AntiphonSubject:
    """One configuration: its engines are loaded once, each conversation is a session of its own."""

    tells_turns = True
    pids = None

    def __init__(
        self,
        name: str,
        config: Config,
        *,
        replacements: dict[Any, Any] | None = None,
        host: EngineHost | None = None,
        finished_recording: bool = False,
    ) -> None:
        """
        :param replacements: engines in place of the configured ones, as for :class:`Assembly`.
        :param host: where the engines' models live; None: a host of its own, closed with the subject.
        :param finished_recording: give it whole recordings, as `VoicePipeline.run(AudioInput(...))` does.
        """
        self.finished_recording = finished_recording
        self.name = f"{name} (finished recording)" if finished_recording else name
        self.config = config
        self._replacements = dict(replacements or {})
        self._host = host
        self._assembly: Assembly | None = None

    @property
    def assembly(self) -> Assembly:
        assert self._assembly is not None, "the subject has not been entered"
        return self._assembly

    async def __aenter__(self) -> AntiphonSubject:
        host = EngineHost() if self._host is None else self._host
        self._assembly = await Assembly(self.config, replacements=self._replacements, host=host).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assembly, self._assembly = self.assembly, None
        await assembly.__aexit__(kind, error, trace)

    async def open(self, listener: Listener) -> AntiphonSession:
        return AntiphonSession(self.assembly, listener, finished_recording=self.finished_recording)


class AntiphonSession:
    """A session whose microphone and loudspeaker are the benchmark's."""

    def __init__(self, assembly: Assembly, listener: Listener, *, finished_recording: bool) -> None:
        self._transport = _BenchTransport(listener, finished_recording=finished_recording)
        self._whole = finished_recording
        session = assembly.session(self._transport, sinks=[listener.on_event], manual_turns=finished_recording)
        self._task = asyncio.create_task(session.run(), name="bench-session")

    async def hear(self, samples: Samples) -> None:
        if self._task.done():
            self._task.result()  # raises what ended it
            if not self._whole:
                raise RuntimeError("the session ended by itself")
        for at in range(0, len(samples), CHUNK):
            self._transport.push(samples[at : at + CHUNK])
        if self._whole:
            self._transport.end()

    async def close(self) -> None:
        self._transport.end()
        _, running = await asyncio.wait({self._task}, timeout=CLOSING_S)
        if running:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class _BenchTransport:
    def __init__(self, listener: Listener, *, finished_recording: bool) -> None:
        self.capabilities = TransportCapabilities(
            paced=not finished_recording, greets=False, pauses=not finished_recording
        )
        self._sink = listener.sink
        self._queue: asyncio.Queue[Samples | None] = asyncio.Queue()

    def push(self, samples: Samples) -> None:
        self._queue.put_nowait(samples)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def frames(self) -> AsyncIterator[AudioFrame]:
        position = 0
        while (samples := await self._queue.get()) is not None:
            yield AudioFrame(samples, RATE_HZ, position / RATE_HZ)
            position += len(samples)

    async def play(self, frame: AudioFrame, mark: int) -> float:
        return await self._sink.play(frame.samples, frame.rate_hz, mark)

    async def drain(self) -> None:
        await self._sink.drain()

    def clear(self) -> None:
        self._sink.clear()

    def pause(self) -> None:
        self._sink.pause()

    def resume(self) -> None:
        self._sink.resume()

    def heard_s(self, mark: int) -> float:
        return self._sink.heard_s(mark)
