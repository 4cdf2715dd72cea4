"""The other end of :mod:`antiphon.engines.host_process`: what runs in an engine's own process.

Messages are tuples of plain values over one socket; what belongs to the user is pickled apart (`bytes`), so that a
value which cannot be unpickled fails its own request and not the connection.

    to the child     ("load", factory)  ("call" | "stream", id, method, args)  ("cancel", id)  ("close",)
    from the child   ("loaded",)  ("result", id, value)  ("item", id, value)  ("end", id)  ("error", id, exception)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from antiphon.engines.errors import EngineFailed
from antiphon.engines.net import forbid_network
from antiphon.engines.ports import DirectPort, as_error, at_work

LOADING = 0
"""The request id of loading."""
OFFLINE, ONLINE = "offline", "online"
"""The last argument: whether the child may reach beyond this machine."""


def main() -> None:
    """`python -c ... SOCKET_FD PARENT_PID offline|online`: serve until told to close, or until the parent is gone."""
    fd, parent, network = int(sys.argv[-3]), int(sys.argv[-2]), sys.argv[-1]
    _die_with(parent)
    # Ctrl-C in a terminal reaches this process too; what it means is for the parent to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before anything of the engine's is imported. The connection to the parent is not a matter of the network.
    with contextlib.nullcontext() if network == ONLINE else forbid_network():
        _Child(Connection(fd)).serve()


def _die_with(parent: int) -> None:
    """Ask Linux to kill this process when the parent's thread ends. Elsewhere the closed socket tells."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        os._exit(1)


class _Child:
    """Serves the requests on the main thread; another thread reads, to hear of cancellation and of the parent's end."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._requests: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._flags: dict[int, threading.Event] = {}
        self._port: DirectPort | None = None

    def serve(self) -> None:
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while True:
            kind, *rest = self._requests.get()
            if kind == "close":
                if self._port is not None:
                    self._port.close()
                return
            if kind == "load":
                self._load(*rest)
            else:
                self._answer(kind, *rest)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent is gone: whatever runs here runs for nobody
            if message[0] == "cancel":
                if flag := self._flags.get(message[1]):
                    flag.set()
                continue
            if message[0] in ("call", "stream"):
                self._flags[message[1]] = threading.Event()
            self._requests.put(message)

    def _load(self, factory: bytes) -> None:
        def make() -> None:
            self._port = DirectPort(_unpickled(factory, "the factory"))

        if self._guarded(LOADING, make):
            self._connection.send(("loaded",))

    def _answer(self, kind: str, number: int, method: str, args: bytes) -> None:
        flag = self._flags[number]

        def work() -> None:
            port = self._port
            if port is None:
                raise EngineFailed("the runtime is not loaded", retryable=False)
            values = _unpickled(args, f"the arguments of '{method}'")
            with at_work(flag):
                if kind == "call":
                    self._connection.send(("result", number, _pickled(port.call(method, values))))
                    return
                with contextlib.closing(port.iterate(method, values)) as items:  # type: ignore[type-var]
                    for item in items:
                        if flag.is_set():
                            break
                        self._connection.send(("item", number, _pickled(item)))
            self._connection.send(("end", number))

        self._guarded(number, work)
        del self._flags[number]

    def _guarded(self, number: int, work: Callable[[], None]) -> bool:
        """Do it, or send the exception."""
        try:
            work()
        except BaseException as error:
            self._connection.send(("error", number, _pickled_error(error)))
            return False
        return True


def _unpickled(data: bytes, what: str) -> Any:
    try:
        return pickle.loads(data)
    except Exception as error:
        raise EngineFailed(
            f"{what} cannot be brought into the engine's process: {error}",
            hint="With isolation 'process' it must be importable by name there: from a module, not from a script.",
            retryable=False,
        ) from error


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise EngineFailed(
            f"a {type(value).__name__} cannot leave the engine's process: {error}", retryable=False
        ) from error


def _pickled_error(error: BaseException) -> bytes:
    """An exception with its traceback as a note; as an EngineFailed if it does not survive the journey."""
    trace = "".join(traceback.format_exception(error))
    ours = as_error(error, "the engine")
    note = f"In the engine's process:\n{trace}"
    with contextlib.suppress(Exception):
        ours.add_note(note)
        data = pickle.dumps(ours)
        if type(pickle.loads(data)) is type(ours):
            return data
    plain = EngineFailed(f"{type(error).__name__}: {error}")
    plain.add_note(note)
    return pickle.dumps(plain)
