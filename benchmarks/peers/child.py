"""Peers that run as child processes: Pipecat, LiveKit Agents and `agents.voice`, each with an LLM server of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from antiphon.benchmarks.clips import RATE_HZ
from antiphon.benchmarks.peers.catalog import PeerSpec
from antiphon.benchmarks.peers.errors import PeerFailed
from antiphon.benchmarks.peers.job import PeerJob
from antiphon.benchmarks.peers.process import DriverProcess, Frame, driver_command, own_python
from antiphon.benchmarks.peers.story import Story
from antiphon.benchmarks.subject import Listener
from antiphon.engines.audio import Samples, to_pcm16
from antiphon.engines.errors import EngineUnavailable

log = logging.getLogger(__name__)

_SERVER_PACKAGES = ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings")


class ChildPeer:
    """A peer in its own process, and its LLM behind an OpenAI-protocol server in another.

    :param python: the interpreter of the environment in which the peer is installed.
    :param llm_url: an OpenAI-protocol server that runs already; None: one is started for this peer alone, so that no
        other peer's prompts push its own out of the model's cache.
    :param script: another driver than the peer's own (tests).
    """

    tells_turns = True

    def __init__(
        self, spec: PeerSpec, python: Path, job: PeerJob, *, llm_url: str | None = None, script: Path | None = None
    ) -> None:
        self.name = spec.name
        self.finished_recording = spec.finished_recording
        self.versions: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        """What the driver says of itself once it is loaded."""
        self._job = job
        self._llm_url = llm_url
        self._command = driver_command(python, str(script or spec.script))
        self._driver: DriverProcess | None = None
        self._llm: DriverProcess | None = None
        self._session: ChildSession | None = None

    @property
    def pids(self) -> Sequence[int]:
        """None of them before it was entered."""
        return [process.pid for process in (self._driver, self._llm) if process is not None and process.pid is not None]

    async def __aenter__(self) -> ChildPeer:
        """
        :raises EngineUnavailable: the LLM server's packages are missing.
        :raises PeerFailed: the peer or the LLM server did not start.
        """
        try:
            url = self._llm_url or await self._start_llm()
            self._driver = DriverProcess(self.name, self._command, self._take)
            ready = await self._driver.start(self._job.for_driver(url))
        except BaseException:
            await self._stop()
            raise
        self.versions.update(ready.get("versions", {}))
        self.settings.update(ready.get("settings", {}))
        self.settings["versions"] = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def open(self, listener: Listener) -> ChildSession:
        """:raises PeerFailed: the driver has died or does not answer."""
        if self._driver is None:
            raise PeerFailed(f"{self.name} was not started", peer=self.name)
        if self._session is not None:
            raise PeerFailed(f"{self.name} holds one conversation at a time", peer=self.name)
        session = ChildSession(self, self._driver, listener, self.finished_recording)
        self._session = session
        try:
            await self._driver.ask({"type": "open"}, "opened")
        except BaseException:
            self._session = None
            raise
        return session

    def ended(self, session: ChildSession) -> None:
        """A conversation is over: what still arrives of it is nobody's."""
        if self._session is session:
            self._session = None

    # -------------------------------------------------------------------------------------- inside

    def _take(self, frame: Frame) -> None:
        if self._session is not None:
            self._session.take(frame)

    async def _start_llm(self) -> str:
        missing = [package for package in _SERVER_PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            raise EngineUnavailable(
                f"the peers' LLM server needs the Python package {missing[0]}",
                hint='pip install "llama-cpp-python[server]==0.3.36"',
            )
        self._llm = DriverProcess(
            f"{self.name}'s LLM server", driver_command(own_python(), "run_llm_server.py"), lambda frame: None
        )
        ready = await self._llm.start(self._job.for_llm_server())
        self.versions.update(ready["versions"])
        return str(ready["base_url"])

    async def _stop(self) -> None:
        processes = [process for process in (self._driver, self._llm) if process is not None]
        self._driver = self._llm = None
        await asyncio.gather(*(process.stop() for process in processes))


class ChildSession:
    """One conversation with a peer's driver."""

    def __init__(self, peer: ChildPeer, driver: DriverProcess, listener: Listener, whole: bool) -> None:
        self._peer = peer
        self._driver = driver
        self._listener = listener
        self._whole = whole
        self._story = Story(listener)

    async def hear(self, samples: Samples) -> None:
        """:raises PeerFailed: the driver has died."""
        self._driver.tell_audio(to_pcm16(samples).astype("<i2").tobytes(), RATE_HZ)
        if self._whole:
            self._driver.tell({"type": "end"})
            await self._driver.drain()

    async def close(self) -> None:
        self._peer.ended(self)
        with contextlib.suppress(PeerFailed):  # one that has died has been told of by `hear`
            await self._driver.ask({"type": "close"}, "closed")

    def take(self, frame: Frame) -> None:
        """What the driver sent, now."""
        if isinstance(frame, tuple):
            pcm, rate_hz = frame
            self._listener.audio(np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0, rate_hz)
        elif frame["type"] == "clear":
            self._listener.sink.clear()
        elif frame["type"] == "event":
            self._story.tell(str(frame.get("name")), str(frame.get("text", "")))
        elif frame["type"] == "error":
            self._story.fail(str(frame.get("message", "")))
