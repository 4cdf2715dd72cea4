"""What the fallback chains of all stages share: loading, health, recovery, and the errors of the whole chain.

Rules, the same for every stage:

- A request goes to the first engine that is not out of order. When it fails or misses its deadline, the same request
  goes to the next one, at most once to each. Cancellation and :class:`StaleRequest` end the request; everything else
  that an engine raises counts as its failure.
- An engine that failed is out of order for `recovery_s`. After that, one real request at a time tries it again.
  (An engine that asked for a pause, by `retry_after_s`, gets that instead.) A request that is invalid for an engine
  (:class:`EngineRequestInvalid`), or for which it has no room now (:class:`EngineOverloaded` without a pause: our own
  queue, mostly), goes on to the next engine too, but puts no engine out of order.
- An engine may offer `async def probe(self) -> None`: a cheap question, off the way of any request, whether it works
  again (it raises where it does not). Then no request tries it. Once `recovery_s` (or the pause that it asked for) has
  passed, the next request starts the probe in the background, does not wait for it, and goes to another engine. The
  engine is used again once a probe has succeeded; one that fails, or takes longer than 10 s, leaves it out of order
  for another `recovery_s`.
- When no engine in order is left, those out of order are tried all the same: an unlikely answer is better than none.
- An engine that could not be loaded does not keep the chain from working. Once `recovery_s` has passed, the next
  request starts another try in the background, and does not wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar

from antiphon.engines.errors import (
    AntiphonError,
    EngineError,
    EngineFailed,
    EngineLoadFailed,
    EngineOverloaded,
    EngineRequestInvalid,
    EngineTimeout,
    StaleRequest,
)
from antiphon.engines.protocols import Stage

logger = logging.getLogger(__name__)

EngineT = TypeVar("EngineT", bound=AbstractAsyncContextManager[Any])
ItemT = TypeVar("ItemT")


_PROBE_LIMIT_S = 10.0
"""For probes that know no limit of their own."""


class Link(NamedTuple, Generic[EngineT]):
    """One engine of a chain; a plain (name, engine, deadline_s) tuple does as well."""

    name: str
    engine: EngineT
    deadline_s: float | None = None
    """For a transcription, besides this engine's equal share of the audio's length; for a stream: until the first item,
    and between two items. None: no limit."""


ChangeKind = Literal["load_failed", "switched", "failed", "recovered"]
"""load_failed: the engine could not be loaded; switched: it failed, and the request went on to the next one;
failed: it failed, and the request could not go on; recovered: it works again."""


@dataclass(frozen=True, slots=True)
class FallbackEvent:
    """Something changed in a chain."""

    kind: ChangeKind
    stage: Stage
    engine: str
    to: str | None
    error: AntiphonError | None
    t_s: float
    """The event loop's clock."""


OnEvent = Callable[[FallbackEvent], None]


class Health(Generic[EngineT]):
    """A link and the state it is in."""

    def __init__(self, link: Link[EngineT]) -> None:
        self.name = link.name
        self.engine = link.engine
        self.deadline_s = link.deadline_s
        self.loaded = False
        self.out_until_s: float | None = None
        """Out of order until then, and until a request has succeeded; None: in order."""
        self.load_error: AntiphonError | None = None
        self.trying = False
        """A request is finding out whether the engine works again."""
        self.reload: asyncio.Task[None] | None = None
        self.probe: Callable[[], Awaitable[None]] | None = getattr(link.engine, "probe", None)
        self.probing: asyncio.Task[None] | None = None

    def usable(self, now_s: float) -> bool:
        return self.loaded and (self.out_until_s is None or (self._due(now_s) and self.probe is None))

    def to_be_probed(self, now_s: float) -> bool:
        return self.loaded and self._due(now_s) and self.probe is not None and self.probing is None

    def _due(self, now_s: float) -> bool:
        """Out of order for so long that it may be tried again, and nobody does."""
        return self.out_until_s is not None and now_s >= self.out_until_s and not self.trying


class Attempt(Generic[ItemT]):
    """One engine's try at a streamed request."""

    def __init__(self, chain: Chain[Any], health: Health[Any], items: AsyncIterator[ItemT]) -> None:
        self._chain = chain
        self._health = health
        self._items = items
        self.error: AntiphonError | None = None
        """Why it failed, once :meth:`next` has returned None."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()

    async def next(self) -> ItemT | None:
        """The next item; None at the end, or when the engine has failed (see `error`)."""
        try:
            async with self._chain.deadline(self._health):
                item = await anext(self._items)
        except StopAsyncIteration:
            return None
        except StaleRequest:
            raise
        except Exception as error:
            self.error = self._chain.failed(self._health, error)
            return None
        self._chain.works(self._health)
        return item


class Chain(Generic[EngineT]):
    """The part of a fallback chain that does not depend on the stage.

    :param engines: at least one, in the order in which they are asked.
    :param on_event: is told of every change, on the event loop; must not block.
    :param recovery_s: how long a broken engine is left alone, in seconds (YAML: `session.recovery_s`).
    :raises ValueError: no engine, or two of one name.
    """

    stage: Stage

    def __init__(
        self,
        engines: Sequence[Link[EngineT] | tuple[str, EngineT, float | None]],
        *,
        on_event: OnEvent | None = None,
        recovery_s: float = 30.0,
    ) -> None:
        self._links = [Health(Link(*link)) for link in engines]
        names = [link.name for link in self._links]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a chain needs engines of different names, not {names}")
        self._on_event = on_event
        self._recovery_s = recovery_s
        self._stack: AsyncExitStack | None = None

    @property
    def in_order(self) -> dict[str, bool]:
        """Each engine's name, and whether it is loaded and has not failed lately."""
        return {link.name: link.loaded and link.out_until_s is None for link in self._links}

    # -------------------------------------------------------------------------------------- life cycle

    async def __aenter__(self) -> Self:
        """Load the engines one after the other.

        :raises EngineLoadFailed: none of them could be loaded; the message has the reason of each.
        """
        if self._stack is not None:
            raise EngineFailed(f"the {self.stage} chain is loaded already", stage=self.stage, retryable=False)
        async with AsyncExitStack() as stack:
            for link in self._links:
                try:
                    await stack.enter_async_context(link.engine)
                except Exception as error:
                    self._load_failed(link, error)
                else:
                    link.loaded, link.out_until_s, link.load_error = True, None, None
            errors = [(link, link.load_error) for link in self._links if link.load_error]
            if len(errors) == len(self._links):
                raise EngineLoadFailed(
                    f"no {self.stage} engine of the chain could be loaded: {_reasons(errors)}",
                    stage=self.stage,
                    hint="\n".join(f"{link.name}: {error.hint}" for link, error in errors if error.hint),
                ) from ExceptionGroup("each engine's error", [error for _, error in errors])
            self._entered()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        stack, self._stack = self._stack, None
        tasks = [task for link in self._links for task in (link.reload, link.probing) if task is not None]
        for task in tasks:
            task.cancel()
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for link in self._links:
                link.loaded, link.reload = False, None
            result = await stack.__aexit__(kind, error, trace) if stack is not None else None
        return result

    def _entered(self) -> None:
        """For what a stage reads from its loaded engines."""

    async def _reload(self, link: Health[EngineT]) -> None:
        """Load an engine, and hold it until cancelled: so that one and the same task enters and leaves it."""
        try:
            async with link.engine:
                link.loaded, link.load_error = True, None
                await asyncio.get_running_loop().create_future()
        except Exception as error:
            if link.loaded:  # it broke while it was being closed
                logger.warning("engine failed to close", extra=self._about(link, error), exc_info=error)
            else:
                self._load_failed(link, error)
        finally:
            link.loaded, link.reload = False, None

    async def _probe(self, link: Health[EngineT]) -> None:
        """Ask an engine that is out of order whether it works again."""
        assert link.probe is not None
        out_until_s = link.out_until_s
        error: AntiphonError | None = None
        try:
            async with asyncio.timeout(_PROBE_LIMIT_S):
                await link.probe()
        except Exception as raised:
            error = self._as_ours(link, raised)
        finally:
            link.probing = None
        if link.out_until_s != out_until_s:
            return  # a request tried it meanwhile, for want of another: that counts for more
        if error is None:
            self.works(link)
        else:
            self._put_out(link, error)
            logger.info("engine is still out of order", extra=self._about(link, error))

    # ---------------------------------------------------------------------------------- one request

    @property
    def _lead(self) -> Health[EngineT]:
        """The first loaded engine; before loading, the first."""
        return next((link for link in self._links if link.loaded), self._links[0])

    def _attempts(self) -> contextlib.closing[Generator[Health[EngineT], None, None]]:
        """The engines that a request tries, one after the other.

        To be closed, and not left to the garbage collector: while it is open, no other request tries the same broken
        engine.
        """
        if self._stack is None:
            raise EngineFailed(f"the {self.stage} chain is not loaded", stage=self.stage, retryable=False,
                               hint="Use it inside `async with chain:`.")  # fmt: skip
        for link in self._links:
            # In a context of its own: the ticket of this request must not rule over what outlives it.
            if not link.loaded and link.reload is None and _now_s() >= (link.out_until_s or 0):
                link.reload = asyncio.create_task(
                    self._reload(link), name=f"reload {self.stage} {link.name}", context=contextvars.Context()
                )
            elif link.to_be_probed(_now_s()):
                link.probing = asyncio.create_task(
                    self._probe(link), name=f"probe {self.stage} {link.name}", context=contextvars.Context()
                )
        return contextlib.closing(self._in_order())

    def _in_order(self) -> Generator[Health[EngineT], None, None]:
        tried: set[str] = set()
        for link in self._links:
            if link.usable(_now_s()):
                tried.add(link.name)
                yield from self._trying(link)
        yield from [link for link in self._links if link.loaded and link.name not in tried]

    @staticmethod
    def _trying(link: Health[EngineT]) -> Generator[Health[EngineT], None, None]:
        if link.out_until_s is None:
            yield link
            return
        link.trying = True
        try:
            yield link
        finally:
            link.trying = False

    @contextlib.asynccontextmanager
    async def deadline(self, link: Health[EngineT], more_s: float = 0.0) -> AsyncIterator[None]:
        """
        :param more_s: besides the engine's deadline.
        :raises EngineTimeout: that passed inside.
        """
        limit_s = None if link.deadline_s is None else link.deadline_s + more_s
        try:
            async with asyncio.timeout(limit_s) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise EngineTimeout(
                f"no answer within its deadline of {limit_s:g} s", stage=self.stage, engine=link.name
            ) from error

    def works(self, link: Health[EngineT]) -> None:
        """An engine gave an answer."""
        if link.out_until_s is not None:
            link.out_until_s = None
            logger.info("engine recovered", extra=self._about(link))
            self._tell("recovered", link, None, None)

    def failed(self, link: Health[EngineT], error: Exception) -> AntiphonError:
        """An engine failed. Returns the error as one of ours."""
        ours = self._as_ours(link, error)
        no_room = isinstance(ours, EngineOverloaded) and ours.retry_after_s is None
        if not no_room and not isinstance(ours, EngineRequestInvalid):
            self._put_out(link, ours)
        return ours

    def goes_on(self, failures: list[tuple[Health[EngineT], AntiphonError]], to: Health[EngineT]) -> None:
        """The request goes on from the engine that failed last to another."""
        if failures:
            link, error = failures[-1]
            logger.warning("engine failed, going on to the next", extra={**self._about(link, error), "to": to.name})
            self._tell("switched", link, to.name, error)

    def exhausted(self, failures: list[tuple[Health[EngineT], AntiphonError]]) -> AntiphonError:
        """The error of a request for which there is no further engine."""
        link, error = failures[-1]
        logger.error("engine failed, and the request could not go on", extra=self._about(link, error))
        self._tell("failed", link, None, error)
        if len(failures) == 1:
            return error
        whole = self._of_all([error for _, error in failures], _reasons(failures))
        whole.__cause__ = ExceptionGroup("each engine's error", [error for _, error in failures])
        return whole

    # ------------------------------------------------------------------------------------------ inside

    def _of_all(self, errors: Sequence[AntiphonError], reasons: str) -> EngineError:
        """One error for those of all engines; of their kind where that matters to who asked."""
        message = f"every {self.stage} engine of the chain failed: {reasons}"
        full = [error.retry_after_s for error in errors if isinstance(error, EngineOverloaded)]
        if len(full) == len(errors):
            pauses_s = [pause_s for pause_s in full if pause_s is not None]
            least_s = min(pauses_s) if len(pauses_s) == len(full) else None
            return EngineOverloaded(message, stage=self.stage, retry_after_s=least_s)
        kind = (
            EngineRequestInvalid if all(isinstance(error, EngineRequestInvalid) for error in errors) else EngineFailed
        )
        retryable = any(isinstance(error, EngineError) and error.retryable for error in errors)
        return kind(message, stage=self.stage, retryable=retryable)

    def _put_out(self, link: Health[EngineT], error: AntiphonError) -> None:
        pause_s = error.retry_after_s if isinstance(error, EngineOverloaded) else None
        link.out_until_s = _now_s() + (self._recovery_s if pause_s is None else pause_s)

    def _load_failed(self, link: Health[EngineT], error: Exception) -> None:
        link.load_error = self._as_ours(link, error)
        link.out_until_s = _now_s() + self._recovery_s
        logger.warning("engine failed to load", extra=self._about(link, link.load_error))
        self._tell("load_failed", link, None, link.load_error)

    def _as_ours(self, link: Health[EngineT], error: Exception) -> AntiphonError:
        if isinstance(error, AntiphonError):
            return error
        if isinstance(error, TimeoutError):
            return EngineTimeout("no answer in time", stage=self.stage, engine=link.name)
        # A bug in an engine: the chain goes on, but the traceback must not be lost.
        logger.error("engine raised an unexpected exception", extra=self._about(link, error), exc_info=error)
        ours = EngineFailed(f"{type(error).__name__}: {error}", stage=self.stage, engine=link.name)
        ours.__cause__ = error
        return ours

    def _about(self, link: Health[EngineT], error: Exception | None = None) -> dict[str, Any]:
        about = {"stage": self.stage, "engine": link.name}
        return about if error is None else {**about, "error": type(error).__name__, "reason": str(error)}

    def _tell(
        self,
        kind: ChangeKind,
        link: Health[EngineT],
        to: str | None,
        error: AntiphonError | None,
    ) -> None:
        if self._on_event is not None:
            self._on_event(FallbackEvent(kind, self.stage, link.name, to, error, _now_s()))


def _reasons(errors: Sequence[tuple[Health[Any], AntiphonError]]) -> str:
    return "; ".join(f"{link.name}: {error.message}" for link, error in errors)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
