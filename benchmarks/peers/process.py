"""A driver in its own process, at the other end of the wire of `drivers/peer_wire.py`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.benchmarks.peers.drivers.peer_wire import Unpacker, WireError, pack, pack_audio
from antiphon.benchmarks.peers.errors import PeerFailed
from antiphon.engines.net import OFFLINE_ENVIRONMENT

log = logging.getLogger(__name__)

DRIVERS = Path(__file__).parent / "drivers"
LOADING_S = 180.0
ANSWERING_S = 20.0
"""How long a driver may take to open or close a conversation."""
LEAVING_S = 10.0
STDERR_LINES = 30

Frame = dict[str, Any] | tuple[bytes, int]

_LEFT_OUT = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
_SECRETS = ("OPENAI_", "LIVEKIT_", "PIPECAT_", "OTEL_")
_QUIET = {
    **OFFLINE_ENVIRONMENT,
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONNOUSERSITE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def driver_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a driver: nobody else's packages, no keys, no telemetry, no model hub."""
    kept = {k: v for k, v in environ.items() if k not in _LEFT_OUT and not k.startswith(_SECRETS)}
    return {**kept, **_QUIET}


class DriverProcess:
    """Starts a driver, hands it messages and audio, and gives on what comes back.

    :param name: the peer's, for messages.
    :param command: the interpreter and the script.
    :param on_frame: called on the event loop with each event, "clear" and piece of audio, as it arrives.
    """

    def __init__(self, name: str, command: Sequence[str | Path], on_frame: Callable[[Frame], None]) -> None:
        self.name = name
        self._command = [str(word) for word in command]
        self._on_frame = on_frame
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._said: deque[str] = deque(maxlen=STDERR_LINES)
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._broken: PeerFailed | None = None
        self._fatal = ""
        """Why the driver leaves, in its own words."""

    @property
    def pid(self) -> int | None:
        """None until it was started."""
        return None if self._process is None else self._process.pid

    async def start(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Start it and let it load; returns its "ready" message.

        :raises PeerFailed: it did not start, or cannot load; the message has what it said.
        """
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=driver_environment(os.environ),
            )
        except OSError as error:
            raise PeerFailed(f"{self.name} cannot be started: {error}", peer=self.name) from error
        self._tasks = [
            asyncio.create_task(self._read_frames(self._process), name=f"{self.name}-frames"),
            asyncio.create_task(self._read_words(self._process), name=f"{self.name}-words"),
        ]
        return await self.ask({"type": "load", **job}, "ready", LOADING_S)

    async def ask(self, message: dict[str, Any], answer: str, within_s: float = ANSWERING_S) -> dict[str, Any]:
        """Send a message and wait for the one that answers it.

        :raises PeerFailed: the driver has died, or does not answer.
        """
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[answer] = future
        try:
            self.tell(message)
            async with asyncio.timeout(within_s):
                return await future
        except TimeoutError:
            raise self._failure(self._fatal or f"did not answer '{message['type']}' within {within_s:g} s") from None
        finally:
            self._answers.pop(answer, None)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message. Never waits. :raises PeerFailed: the driver has died."""
        self._write(pack(message))

    def tell_audio(self, pcm: bytes, rate_hz: int) -> None:
        """Send audio (signed 16-bit little-endian mono). Never waits. :raises PeerFailed: the driver has died."""
        self._write(pack_audio(pcm, rate_hz))

    async def drain(self) -> None:
        """Wait until what was sent has been taken, but for a pipe's worth."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(ConnectionError):
                await self._process.stdin.drain()

    async def stop(self) -> None:
        """End it: by the end of its input, then by signals."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        for end in (None, process.terminate, process.kill):
            if end is not None:
                with contextlib.suppress(ProcessLookupError):
                    end()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVING_S):
                    await process.wait()
                    break
        await asyncio.wait(self._tasks, timeout=LEAVING_S)
        for task in self._tasks:
            task.cancel()

    # -------------------------------------------------------------------------------------- inside

    def _write(self, frame: bytes) -> None:
        if self._broken is not None:
            raise self._broken
        if self._process is None or self._process.stdin is None or self._process.returncode is not None:
            raise self._failure("is not running")
        self._process.stdin.write(frame)

    async def _read_frames(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        unpacker = Unpacker()
        try:
            while data := await process.stdout.read(1 << 16):
                for frame in unpacker.push(data):
                    self._take(frame)
            await process.wait()
            await asyncio.wait({self._tasks[1]}, timeout=LEAVING_S)  # its last words belong to the message
            self._break(self._fatal or f"ended (exit status {process.returncode})")
        except WireError as error:
            self._break(f"sent what cannot be read: {error}")

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, dict):
            answer = self._answers.get(frame["type"])
            if answer is not None and not answer.done():
                answer.set_result(frame)
                return
            if frame["type"] == "error" and frame.get("fatal"):
                self._fatal = str(frame.get("message", ""))  # it leaves now
                return
        self._on_frame(frame)

    def _break(self, why: str) -> None:
        if self._broken is None:
            self._broken = self._failure(why)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(self._broken)

    async def _read_words(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            self._said.append(text)
            log.debug("a peer said something", extra={"peer": self.name, "line": text})

    def _failure(self, why: str) -> PeerFailed:
        said = "\n".join(self._said)
        return PeerFailed(f"{self.name}: {why}", peer=self.name, hint=f"it said last:\n{said}" if said else "")


def driver_command(python: Path, script: str) -> list[Path | str]:
    """The command that runs one of our driver scripts."""
    return [python, "-u", DRIVERS / script]


def own_python() -> Path:
    return Path(sys.executable)
