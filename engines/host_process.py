"""Runtimes in a process of their own: a native crash there takes neither the server nor the other engines.

The child is a fresh interpreter (never a fork: native libraries with threads do not survive one) that imports the
runtime's factory by name. It dies with its parent. What native code writes to stdout or stderr is logged line by line,
and the last lines are part of the error when the process dies.
"""

from __future__ import annotations

import asyncio
import collections
import inspect
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from antiphon.engines.crash_hints import explain, how_it_ended
from antiphon.engines.dotted import load_dotted
from antiphon.engines.errors import EngineCrashed, EngineFailed, EngineTimeout, EngineUnavailable
from antiphon.engines.host_child import LOADING, OFFLINE, ONLINE
from antiphon.engines.net import network_forbidden
from antiphon.engines.ports import Runtime, abandoned

logger = logging.getLogger(__name__)

_POLL_S = 0.02
"""How often a waiting worker looks whether its request was given up."""
_CLOSE_S = 5.0
"""How long a child may take to close its runtime before it is killed."""
_LONG_LIFE_S = 60.0
"""A process that lived so long did not crash because of how it was started."""
_MAX_BACKOFF_S = 30.0
_TAIL_LINES = 40

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from antiphon.engines.host_child import main; main()"
)


class _DiedUnread(EngineCrashed):
    """Raised when the child died before it had read the request: the request is not to blame, and may be made again."""


class Child:
    """One child process and the conversation with it. Used by one thread, but for `kill`.

    :param offline: whether the network is forbidden there, for all of its life.
    :raises EngineUnavailable: this system cannot do it (Windows).
    """

    def __init__(self, name: str, *, offline: bool) -> None:
        if os.name != "posix":
            raise EngineUnavailable(
                "isolation 'process' needs Linux or macOS", hint="Use isolation 'thread', or WSL on Windows."
            )
        self.name = name
        self.began_s = time.monotonic()
        self._number = LOADING
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-u", "-X", "faulthandler", "-c", _BOOTSTRAP, json.dumps(sys.path)]
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(os.getpid()), OFFLINE if offline else ONLINE],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        self._tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self._reader = threading.Thread(target=self._read_output, name=f"{name} output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def load(self, factory: Callable[[], Runtime], give_up_s: float | None = None) -> None:
        """Make the runtime there. Raises what the factory raises; EngineTimeout after `give_up_s`."""
        self._send("loading", ("load", _pickled(factory, "factory")))
        self._receive("loading", LOADING, give_up_s)

    def call(self, method: str, args: tuple[Any, ...], give_up_s: float | None = None) -> Any:
        number = self._ask("call", method, args)
        return self._receive(method, number, give_up_s)[1]

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]:
        number = self._ask("stream", method, args)
        while True:
            kind, value = self._receive(method, number)
            if kind == "end":
                return
            try:
                yield value
            except GeneratorExit:
                self._cancel(method, number)
                raise

    def kill(self) -> None:
        """End it at once; from any thread. Whoever waits for an answer gets EngineCrashed."""
        self._process.kill()

    def close(self) -> None:
        """Let it close its runtime, and wait until it is gone; kill it when that takes too long."""
        try:
            self._connection.send(("close",))
        except OSError:
            pass  # it is dead already
        try:
            self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            logger.warning("engine process does not close, killing it", extra={"worker": self.name})
            self._process.kill()
            self._process.wait()
        self._free()

    # ------------------------------------------------------------------------------------------ inside

    def _ask(self, kind: str, method: str, args: tuple[Any, ...]) -> int:
        data = _pickled(args, f"arguments of '{method}'")
        self._number += 1
        self._send(method, (kind, self._number, method, data))
        return self._number

    def _send(self, doing: str, message: tuple[Any, ...]) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._crashed(doing, unread=True) from error

    def _receive(self, doing: str, number: int, give_up_s: float | None = None) -> tuple[str, Any]:
        """The next message about this request. Raises the exception that the request raised there."""
        until_s = None if give_up_s is None else time.monotonic() + give_up_s
        while True:
            try:
                message = self._next_message(number, until_s)
            except (EOFError, OSError) as error:
                # A socket is reset, not just closed, when its owner goes with something left unread in it: the request,
                # unless that was given up and a "cancel" was sent after it.
                unread = isinstance(error, ConnectionResetError) and not abandoned()
                raise self._crashed(doing, unread=unread) from error
            if message is None:
                raise EngineTimeout(f"'{self.name}' gave no answer within {give_up_s:g} s ({doing})")
            kind, *rest = message
            if kind == "loaded":
                return kind, None
            if rest[0] != number:
                continue  # the rest of a request that was given up
            if kind == "error":
                raise pickle.loads(rest[1])
            return kind, pickle.loads(rest[1]) if len(rest) > 1 else None

    def _next_message(self, number: int, until_s: float | None) -> tuple[Any, ...] | None:
        """None when it is too late. Tells the child when nobody waits for the request any more."""
        told = False
        while not self._connection.poll(_POLL_S):
            if not told and abandoned():
                self._connection.send(("cancel", number))
                told = True
            if until_s is not None and time.monotonic() > until_s:
                return None
        message: tuple[Any, ...] = self._connection.recv()
        return message

    def _cancel(self, method: str, number: int) -> None:
        """Stop a stream, and wait until it has stopped: the next request finds the child free."""
        self._send(method, ("cancel", number))
        while self._receive(method, number)[0] != "end":
            pass

    def _crashed(self, doing: str, *, unread: bool = False) -> EngineCrashed:
        """The connection broke: find out how the process ended."""
        try:
            returncode = self._process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:  # it closed its socket and goes on: of no use
            self._process.kill()
            returncode = self._process.wait()
        self._free()
        signal_name, how = how_it_ended(returncode)
        output = self.output()
        hint = explain(signal_name, f"{self.name}\n{output}")
        written = f"The last that it wrote:\n{output}" if output else ""
        logger.error("engine process died", extra={"worker": self.name, "how": how, "output": output})
        kind = _DiedUnread if unread else EngineCrashed
        return kind(
            f"'{self.name}' crashed ({doing}): {how}",
            hint="\n".join(filter(None, (hint, written))),
            signal_name=signal_name,
        )

    def _free(self) -> None:
        self._connection.close()
        self._reader.join(1.0)  # more only if a grandchild holds the pipe open

    def output(self) -> str:
        """The last lines that it wrote to stdout and stderr."""
        return "\n".join(self._tail)

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                self._tail.append(text)
                logger.info("engine process wrote", extra={"worker": self.name, "line": text})


class ChildPort:
    """The :class:`~antiphon.engines.ports.Port` to a runtime in a child process.

    After a crash the child is started again at once; when it crashes again soon, only after 1, 2, 4 ... 30 s, and
    requests until then fail at once.

    :param offline: whether the network is forbidden in the child, and in those that come after it.
    """

    def __init__(self, factory: Callable[[], Runtime], name: str, *, offline: bool) -> None:
        self._factory = factory
        self._name = name
        self._offline = offline
        self.crashes = 0
        """Of all times."""
        self._crashes = 0
        """In a row."""
        self._not_before_s = 0.0
        self._child: Child | None = self._start()

    @property
    def pid(self) -> int | None:
        """Of the child that runs now."""
        return self._child.pid if self._child is not None else None

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        child = self._ready()
        try:
            return child.call(method, args)
        except _DiedUnread:
            self._note_crash(child)
        except EngineCrashed:
            self._note_crash(child)
            raise
        child = self._ready()
        try:
            return child.call(method, args)
        except EngineCrashed:
            self._note_crash(child)
            raise

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]:
        child = self._ready()
        try:
            yield from child.iterate(method, args)
            return
        except _DiedUnread:
            self._note_crash(child)
        except EngineCrashed:
            self._note_crash(child)
            raise
        child = self._ready()
        try:
            yield from child.iterate(method, args)
        except EngineCrashed:
            self._note_crash(child)
            raise

    def recover(self) -> None:
        if time.monotonic() >= self._not_before_s:
            try:
                self._ready()
            except Exception as error:
                logger.warning("engine process did not start again", extra={"worker": self._name, "reason": str(error)})

    @property
    def streams_at_once(self) -> int:
        return 1  # one conversation with the child, one request at a time

    @property
    def items_a_turn(self) -> int:
        return 1

    def abort(self) -> bool:
        child = self._child
        if child is not None:
            child.kill()
        return child is not None

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def _start(self) -> Child:
        child = Child(self._name, offline=self._offline)
        try:
            child.load(self._factory)
        except EngineCrashed:
            raise
        except BaseException:
            child.close()
            raise
        return child

    def _ready(self) -> Child:
        if self._child is not None and not self._child.alive():
            # It died while idle: not of this request, so this request may have the next one.
            logger.error("engine process died while idle", extra={"worker": self._name})
            dead = self._child
            self._note_crash(dead)
            dead.close()
        if self._child is None:
            wait_s = self._not_before_s - time.monotonic()
            if wait_s > 0:
                raise EngineCrashed(
                    f"'{self._name}' crashed {self._crashes} times; it is not started again for {wait_s:.1f} s"
                )
            try:
                self._child = self._start()
            except EngineCrashed:
                self._back_off()
                raise
        return self._child

    def _note_crash(self, child: Child) -> None:
        self._child = None
        if time.monotonic() - child.began_s > _LONG_LIFE_S:
            self._crashes = 0
        self._back_off()

    def _back_off(self) -> None:
        self.crashes += 1
        self._crashes += 1
        delay_s = 0.0 if self._crashes == 1 else min(_MAX_BACKOFF_S, 2.0 ** (self._crashes - 2))
        self._not_before_s = time.monotonic() + delay_s


def _pickled(value: Any, what: str) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise EngineFailed(
            f"the {what} cannot be sent to the engine's process: {error}",
            hint="With isolation 'process' everything that goes there must be picklable: no lambda, no open file.",
            retryable=False,
        ) from error


# ------------------------------------------------------------------------------------------ trying out


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of :func:`try_in_child`."""

    value: Any
    """What the function returned; None if it did not."""
    error: Exception | None
    """What it raised; EngineCrashed if it killed the process, EngineTimeout if it did not end."""
    signal_name: str
    """"SIGSEGV" and the like, if it died of a signal."""
    explanation: str
    """Of a crash: what probably happened and what to do; may be empty."""
    output: str
    """The last lines that it wrote to stdout and stderr."""
    seconds: float

    @property
    def ok(self) -> bool:
        return self.error is None


def try_in_child(target: str, *args: Any, timeout_s: float = 60.0, offline: bool = False) -> Trial:
    """Call a function in a process of its own, which may crash there. Blocks: call it in a thread.

    :param target: dotted path "module:function"; a coroutine function is run to its end.
    :param args: picklable.
    :param offline: forbid the network there; it is forbidden anyway where it is forbidden here.
    """
    began_s = time.monotonic()
    value: Any = None
    error: Exception | None = None
    child = Child(target, offline=offline or network_forbidden())
    try:
        child.load(partial(_Trier, target), timeout_s)
        value = child.call("run", args, max(0.0, timeout_s - (time.monotonic() - began_s)))
    except Exception as raised:
        error = raised
        if isinstance(raised, EngineTimeout):
            child.kill()
    finally:
        child.close()
    crashed = isinstance(error, EngineCrashed)
    signal_name = error.signal_name if isinstance(error, EngineCrashed) else ""
    return Trial(
        value,
        error,
        signal_name,
        explain(signal_name, f"{target}\n{child.output()}") if crashed else "",
        child.output(),
        time.monotonic() - began_s,
    )


class _Trier:
    """The runtime of :func:`try_in_child`."""

    def __init__(self, target: str) -> None:
        self._function = load_dotted(target)

    def run(self, *args: Any) -> Any:
        result = self._function(*args)
        return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result: Any) -> Any:
    return await result
