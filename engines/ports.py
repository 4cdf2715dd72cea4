"""How a worker reaches its runtime, and what a runtime may ask while it is called."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from antiphon.engines.errors import EngineFailed

logger = logging.getLogger(__name__)

Runtime = Any
"""A plain synchronous object with an optional `close()`. Where its generators may be resumed in any order it says how
many of them may be under way (`streams_at_once`), and after how many items others may go first (`items_a_turn`).
"""


class Port(Protocol):
    """How a worker reaches its runtime. Used on the worker's thread only, but for `abort`."""

    def call(self, method: str, args: tuple[Any, ...]) -> Any: ...

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]: ...

    def recover(self) -> None:
        """Called after a crash, when the requests have their errors: may load the runtime again. Never raises."""
        ...

    def abort(self) -> bool:
        """Break off what is running, if that is possible; from any thread. Returns whether it was."""
        ...

    def close(self) -> None: ...

    @property
    def crashes(self) -> int:
        """How often the runtime's process has died."""
        ...

    @property
    def streams_at_once(self) -> int:
        """How many streams may be under way."""
        ...

    @property
    def items_a_turn(self) -> int:
        """Items after which a stream lets others go first, where several may be under way."""
        ...


class DirectPort:
    """The runtime lives on the worker's own thread."""

    crashes = 0

    def __init__(self, factory: Callable[[], Runtime]) -> None:
        self._runtime = factory()

    def call(self, method: str, args: tuple[Any, ...]) -> Any:
        return getattr(self._runtime, method)(*args)

    def iterate(self, method: str, args: tuple[Any, ...]) -> Iterator[Any]:
        iterator = iter(getattr(self._runtime, method)(*args))
        try:
            yield from iterator
        finally:
            close_quietly(iterator, method)

    def recover(self) -> None: ...

    def abort(self) -> bool:
        return False

    def close(self) -> None:
        close_quietly(self._runtime, "runtime")

    @property
    def streams_at_once(self) -> int:
        return int(getattr(self._runtime, "streams_at_once", 1))

    @property
    def items_a_turn(self) -> int:
        return int(getattr(self._runtime, "items_a_turn", 1))


def close_quietly(target: Any, what: str) -> None:
    """Call `close()` where there is one; a failure is logged: nobody waits for it."""
    close = getattr(target, "close", None)
    if close is None:
        return
    try:
        close()
    except Exception:
        logger.exception("close failed", extra={"target": what})


_at_work = threading.local()


def abandoned() -> bool:
    """For runtimes: whether nobody waits any more for the request that runs on this thread.

    Long calls ask this between their steps (an abort callback of llama.cpp, say) and may then return anything.
    """
    flag = getattr(_at_work, "flag", None)
    return flag is not None and bool(flag.is_set())


@contextlib.contextmanager
def at_work(flag: threading.Event) -> Iterator[None]:
    """While inside, :func:`abandoned` on this thread is this flag."""
    _at_work.flag = flag
    try:
        yield
    finally:
        _at_work.flag = None


def as_error(error: BaseException, name: str) -> Exception:
    """An exception that can be raised on an event loop: there StopIteration, SystemExit and the like do harm."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    ours = EngineFailed(f"'{name}' raised {type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours
