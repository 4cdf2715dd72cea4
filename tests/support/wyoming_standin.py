"""A Wyoming server made of the package `wyoming` alone, on a thread of its own: our client engines are tried on it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info, TtsProgram, TtsVoice
from wyoming.server import AsyncEventHandler
from wyoming.tts import Synthesize

RATE_HZ = 22050
_ART = {"attribution": Attribution("standin", "none"), "installed": True, "description": None, "version": "1"}


def tone(text: str, rate_hz: int = RATE_HZ, seconds_per_char: float = 0.06) -> NDArray[np.int16]:
    """What the stand-in makes of a text."""
    count = round(len(text) * seconds_per_char * rate_hz)
    return (0.3 * np.cos(2 * np.pi * 220 / rate_hz * np.arange(count)) * 32767).astype("<i2")


class _Handler(AsyncEventHandler):
    def __init__(self, standin: WyomingStandin, reader: Any, writer: Any) -> None:
        super().__init__(reader, writer)
        self._standin = standin
        self._audio = b""
        standin.connections += 1

    async def handle_event(self, event: Event) -> bool:
        standin = self._standin
        standin.events.append(event)
        if standin.script is not None:
            answer = standin.script(event)
            if answer is not None:
                return await self._play(answer)
        if Describe.is_type(event.type):
            await self.write_event(standin.info.event())
        elif AudioChunk.is_type(event.type):
            self._audio += event.payload or b""
        elif AudioStop.is_type(event.type):
            await self._transcribed()
        elif Synthesize.is_type(event.type):
            await self._speak(Synthesize.from_event(event).text)
        return True

    async def _play(self, answer: list[Event | bytes | float | None]) -> bool:
        """Bytes and events are sent, numbers are waited for, None closes the connection."""
        for part in answer:
            if part is None:
                return False
            if isinstance(part, float):
                await asyncio.sleep(part)
            elif isinstance(part, bytes):
                self.writer.write(part)
                await self.writer.drain()
            else:
                await async_write_event(part, self.writer)
        return True

    async def _transcribed(self) -> None:
        seconds = len(self._audio) / 2 / 16000
        self._standin.heard_s.append(seconds)
        self._audio = b""
        await asyncio.sleep(self._standin.delay_s)
        text = self._standin.hears(seconds)
        if self._standin.streams:
            await self.write_event(TranscriptStart(language="en").event())
            await self.write_event(TranscriptChunk(text=text).event())
        await self.write_event(Transcript(text=text, language="en").event())
        if self._standin.streams:
            await self.write_event(TranscriptStop().event())

    async def _speak(self, text: str) -> None:
        rate_hz = self._standin.rate_hz
        data = tone(text, rate_hz).tobytes()
        await self.write_event(AudioStart(rate=rate_hz, width=2, channels=1).event())
        for at in range(0, len(data), 2048):
            await asyncio.sleep(self._standin.delay_s)
            chunk = AudioChunk(rate=rate_hz, width=2, channels=1, audio=data[at : at + 2048])
            await self.write_event(chunk.event())
        await self.write_event(AudioStop().event())
        self._standin.spoken.append(text)


class WyomingStandin:
    """A context manager; `uri` is where it is."""

    def __init__(
        self,
        *,
        delay_s: float = 0.0,
        rate_hz: int = RATE_HZ,
        streams: bool = False,
        hears: Callable[[float], str] = lambda seconds: f"{seconds:.2f} seconds of it",
        script: Callable[[Event], list[Any] | None] | None = None,
        info: Info | None = None,
    ) -> None:
        """
        :param delay_s: before a transcript, and before each chunk of speech.
        :param hears: the transcript, by the length of the audio in seconds.
        :param script: what is done for an event in place of the usual; None: the usual.
        """
        self.delay_s = delay_s
        self.rate_hz = rate_hz
        self.streams = streams
        self.hears = hears
        self.script = script
        self.info = info or Info(
            asr=[AsrProgram("listener", models=[AsrModel("tiny", languages=["en", "de_DE"], **_ART)], **_ART)],
            tts=[TtsProgram("speaker", voices=[TtsVoice("joe", languages=["en_US"], **_ART)], **_ART)],
        )
        self.events: list[Event] = []
        self.connections = 0
        self.heard_s: list[float] = []
        self.spoken: list[str] = []
        self.uri = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wyoming-standin")

    def __enter__(self) -> WyomingStandin:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def accept(reader: Any, writer: Any) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await _Handler(self, reader, writer).run()

        server = self._loop.run_until_complete(asyncio.start_server(accept, "127.0.0.1", 0))
        self.uri = "tcp://{}:{}".format(*server.sockets[0].getsockname())
        self._ready.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


def error(text: str, code: str | None = None) -> Event:
    return Error(text=text, code=code).event()
