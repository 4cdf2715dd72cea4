"""Where tool calls run: each in a task of its own, by its rules; and where results wait that come late.

One desk a session. A call whose turn is interrupted is cancelled, or goes on here; a call in the background goes on
here from the start. What such a call gives is kept until a turn has taken it in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import ToolCall
from antiphon.pipeline.agent.contracts import Announcer
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.workflow import ToolResult

logger = logging.getLogger(__name__)

STARTED = "Started. It goes on in the background; its result will follow. Tell the user that it was started."

NO_TEXT = "(something that is no text)"

CANCEL_PATIENCE_S = 1.0

Work = Callable[[], Awaitable[Any]]


class ToolFailed(AntiphonError):
    """Raise it in a tool to tell the model, in words, why it did not work. Of other errors it sees no details."""


@dataclass(frozen=True, slots=True)
class Running:
    """A call that is under way without anybody waiting for it."""

    call: ToolCall
    rules: ToolRules


class ToolDesk:
    """Runs tool calls."""

    def __init__(self, announcer: Announcer | None = None) -> None:
        self.announcer = announcer
        self._left: dict[asyncio.Task[Any], Running] = {}
        self._awaited = 0
        self._late: list[ToolResult] = []

    @property
    def late(self) -> tuple[ToolResult, ...]:
        """Results that no turn has taken in yet, oldest first."""
        return tuple(self._late)

    @property
    def running(self) -> tuple[Running, ...]:
        """Calls that go on without anybody waiting for them."""
        return tuple(self._left.values())

    @property
    def busy(self) -> bool:
        """Whether an answer waits for a tool."""
        return self._awaited > 0

    @contextlib.contextmanager
    def occupied(self) -> Iterator[None]:
        """An answer waits for something that has to come before a tool: a record, a check, somebody's yes."""
        self._awaited += 1
        try:
            yield
        finally:
            self._awaited -= 1

    def taken(self, results: Sequence[ToolResult]) -> None:
        """A turn that is sure has taken these in."""
        self._late = [result for result in self._late if result not in results]

    async def run(self, call: ToolCall, rules: ToolRules, work: Work) -> Any:
        """What the tool gives, or a sentence for the model on why it gave nothing.

        :raises asyncio.CancelledError: the turn was interrupted; by its rules the call has ended too, or goes on.
        """
        task = asyncio.create_task(_limited(call, rules, work), name=f"tool {call.name}")
        if rules.background:
            self._leave_to_itself(task, Running(call, rules))
            return STARTED
        try:
            with self.occupied():
                return await asyncio.shield(task)
        except asyncio.CancelledError:
            if rules.on_interrupt == "finish" and not task.done():
                self._leave_to_itself(task, Running(call, rules))
            else:
                await _cancelled(task, call)
            raise

    async def close(self, *, grace_s: float = 5.0) -> None:
        """Let what is under way finish for a while; cancel the rest."""
        if not self._left:
            return
        _, unfinished = await asyncio.wait(tuple(self._left), timeout=grace_s)
        calls = {task: self._left[task].call for task in unfinished}
        for call in calls.values():
            logger.warning("a tool was cut off by the end of its session", extra={"tool": call.name})
        await asyncio.gather(*(_cancelled(task, call) for task, call in calls.items()))

    def _leave_to_itself(self, task: asyncio.Task[Any], running: Running) -> None:
        self._left[task] = running
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        running = self._left.pop(task)
        if task.cancelled():
            return
        call = running.call
        error = task.exception()
        output = as_text(task.result()) if error is None else failure_text(call.name, error)
        if error is not None:
            logger.warning("a tool failed", extra={"tool": call.name, "code": type(error).__name__})
        self._late.append(ToolResult(call.id, call.name, output))
        if running.rules.announce and self.announcer is not None:
            self.announcer(running.rules.announce.replace("{result}", output))


def failure_text(name: str, error: BaseException) -> str:
    """What the model is told of a tool's error. Its details may be secret: only :class:`ToolFailed` speaks."""
    if isinstance(error, ToolFailed):
        return error.message
    return f"{name} failed. Tell the user that it did not work."


def as_text(output: Any) -> str:
    """A tool's output as the model and the transcript see it."""
    if isinstance(output, str):
        return output
    if isinstance(output, list | tuple):
        return "\n".join(as_text(part) for part in output)
    if isinstance(output, dict) and "type" in output:
        return str(output["text"]) if "text" in output else NO_TEXT
    text = getattr(output, "text", None)
    return text if isinstance(text, str) else str(output)


async def _cancelled(task: asyncio.Task[Any], call: ToolCall) -> None:
    """Cancel a call, and wait for it; but not for one that will not end: the user is speaking."""
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_PATIENCE_S)
    if not task.done():
        logger.warning("a tool does not let itself be cancelled", extra={"tool": call.name})
    elif not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("a tool failed when it was cancelled", extra={"tool": call.name, "code": type(error).__name__})


async def _limited(call: ToolCall, rules: ToolRules, work: Work) -> Any:
    try:
        async with asyncio.timeout(rules.limit_s) as limit:
            return await work()
    except TimeoutError:
        if not limit.expired():
            raise  # the tool's own
        logger.warning("a tool took too long", extra={"tool": call.name, "limit_s": rules.limit_s})
        return f"{call.name} did not answer within {rules.limit_s:g} seconds. Tell the user that it did not work."
