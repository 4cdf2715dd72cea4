"""Runtimes for the tests of the engine host. In a module of their own: an engine's process imports them by name."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.host import abandoned
from antiphon.engines.net import network_forbidden


class Gate:
    """A runtime of one thread that tests steer by events. For workers in threads only."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.closed_on = ""
        self.generator_closed_on = ""
        self.saw_abandoned = False

    def wait(self, value: Any) -> Any:
        """Runs until `go_on` is set."""
        self.ran.append(value)
        self.entered.set()
        assert self.go_on.wait(20)
        return value

    def note(self, value: Any) -> Any:
        self.ran.append(value)
        return value

    def until_abandoned(self) -> str:
        self.entered.set()
        for _ in range(2000):
            if abandoned():
                self.saw_abandoned = True
                return "left"
            time.sleep(0.01)
        return "nobody left"

    def count(self, limit: int) -> Iterator[int]:
        """Waits for `go_on` after the first."""
        try:
            for number in range(limit):
                self.ran.append(number)
                yield number
                self.entered.set()
                assert self.go_on.wait(20)
        finally:
            self.generator_closed_on = threading.current_thread().name

    def raises(self, error: BaseException) -> None:
        raise error

    def yields_then_raises(self, error: BaseException) -> Iterator[int]:
        yield 1
        raise error

    def close(self) -> None:
        self.closed_on = threading.current_thread().name


class Isolated:
    """A runtime for a process of its own."""

    def __init__(self, directory: str = "", crash_at_load: bool = False) -> None:
        self._directory = Path(directory) if directory else None
        if self._directory is not None:
            with (self._directory / "loads").open("a") as loads:
                loads.write("x")
        if crash_at_load:
            self.segfault()

    def pid(self) -> int:
        return os.getpid()

    def add(self, first: Any, second: Any) -> Any:
        return first + second

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def segfault(self) -> None:
        sys.stderr.write("about to read address zero\n")
        ctypes.string_at(0)

    def die_by(self, number: int) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    def exit(self, code: int) -> None:
        os._exit(code)

    def raises(self, kind: str) -> None:
        if kind == "ours":
            raise EngineRequestInvalid("too long", stage="tts", engine="x", hint="shorten it")
        if kind == "connection":
            raise ConnectionResetError("of some other connection")
        if kind == "exit":
            sys.exit(3)
        raise Unpicklable(threading.Lock())

    def unpicklable(self) -> Any:
        return threading.Lock()

    def says(self, text: str) -> None:
        """As native code does: straight to the file descriptors."""
        os.write(1, f"stdout {text}\n".encode())
        os.write(2, f"stderr {text}\n".encode())

    def count(self, limit: int, pause_s: float = 0.0) -> Iterator[int]:
        try:
            for number in range(limit):
                yield number
                time.sleep(pause_s)
        finally:
            self._mark("generator closed")

    def until_abandoned(self) -> None:
        for _ in range(2000):
            if abandoned():
                self._mark("abandoned")
                return
            time.sleep(0.01)

    def ignores_sigterm_and_close(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def close(self) -> None:
        self._mark("closed")

    def _mark(self, name: str) -> None:
        if self._directory is not None:
            (self._directory / name).touch()


class Caller:
    """A runtime that wants to reach another machine, while it loads and afterwards."""

    def __init__(self) -> None:
        self._at_load = call_out() if network_forbidden() else []

    def at_load(self) -> list[str]:
        return self._at_load

    def call_out(self) -> list[str]:
        return call_out()

    def forbidden(self) -> bool:
        return network_forbidden()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(10)

    def close(self) -> None:
        pass


def call_out() -> list[str]:
    """Connect to an address that belongs to nobody: what was raised, and where the socket is bound to then.

    The system binds a socket as the first step of connecting: one that is not bound has sent nothing.
    """
    with socket.socket() as sock:
        sock.settimeout(0.5)
        raised = "nothing"
        try:
            sock.connect(("203.0.113.1", 80))
        except Exception as error:
            raised = type(error).__name__
        return [raised, *map(str, sock.getsockname())]


def forbidden_here() -> bool:
    return network_forbidden()


class Unpicklable(Exception):
    def __init__(self, lock: Any) -> None:
        super().__init__("holds a lock", lock)


def fails_to_load() -> Isolated:
    raise EngineRequestInvalid("no such file")


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    return 2 * number


def crash(number: int) -> None:
    sys.stderr.write("loading llama_cpp\n")
    sys.stderr.flush()
    os.kill(os.getpid(), number)
    time.sleep(10)


def hang() -> None:
    time.sleep(60)


def broken() -> None:
    raise ValueError("not like this")
