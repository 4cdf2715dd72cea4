"""What a session says of its own accord: a greeting, lines that answer nobody, what an earlier session left open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

from antiphon.pipeline.errors import StageError
from antiphon.pipeline.guarding import Unfinished
from antiphon.pipeline.line import Line
from antiphon.pipeline.makings import Makings
from antiphon.pipeline.means import Means
from antiphon.pipeline.own_lines import once
from antiphon.pipeline.reply import TransportBroken
from antiphon.pipeline.reporting import as_stage_error
from antiphon.pipeline.run import Run
from antiphon.pipeline.workflow import WorkflowEvent, pieces

logger = logging.getLogger(__name__)


class Initiative:
    """One per session. All of it is said after what is being said; none of it waits, and none of it is a turn."""

    def __init__(self, makings: Makings, means: Means, line: Line) -> None:
        self._session = makings.session_id
        self._workflow = makings.workflow
        self._greeting = makings.settings.greeting
        """Said first; "": what the workflow says on its start."""
        self._greets = makings.transport.capabilities.greets
        """Somebody listens from the start."""
        self._unfinished = makings.guarding.unfinished
        self._judges_answers = bool(makings.guarding.policy.turn)
        self._means = means
        self._line = line

    def greet(self) -> None:
        """Say what the conversation begins with; then answer what an earlier session has left open."""
        if self._greeting and self._greets:
            self.say(self._greeting)
        elif self._greets and (on_start := getattr(self._workflow, "on_start", None)):
            self._start(Run(0, 0), partial(self._say, pieces(on_start, may_be_silent=True)))
        if self._unfinished is not None:
            self._start(Run(0, 0), partial(self._go_on, self._unfinished))

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Speak a text that joins the conversation."""
        self._start(Run(0, 0, interruptible=interruptible), partial(self._say, once(text)))

    def line(self, line: str) -> None:
        """Say one of the session's own lines, which are no part of the conversation."""
        self._start(Run(0, 0, interruptible=False), lambda run: self._means.lines.say(run, line))

    def _start(self, run: Run, work: Callable[[Run], Coroutine[Any, Any, None]]) -> None:
        run.committed.set()
        run.task = self._line.join(run, work(run))

    async def _say(self, source: AsyncIterator[str | WorkflowEvent], run: Run) -> None:
        means = self._means
        emit = means.reporting.emitter(run)
        reply = means.voicing.reply(run, emit, None)
        try:
            await run.floor.wait()
            await reply.speak(source, partial(means.remembering.handed_over, run, reply, emit))
        except TransportBroken:
            raise
        except Exception as raised:
            means.reporting.failed(as_stage_error(raised), emit)
        finally:
            if not run.complete:
                means.remembering.said(run, reply, emit)
            elif run.interrupted:
                means.remembering.corrected(run, reply, emit)
            means.reporting.used(run, emit)

    async def _go_on(self, unfinished: Unfinished, run: Run) -> None:
        """Answer what an earlier session has left open."""
        means = self._means
        emit = means.reporting.emitter(run)
        guard = means.consulting.guard(run, emit, None)
        reply = means.voicing.reply(run, emit, None)
        means.voicing.begins(reply)
        try:
            await run.floor.wait()
            await reply.speak(means.consulting.go_on(run, unfinished, guard, emit))
        except StageError as error:
            means.reporting.failed(error, emit)
        except asyncio.CancelledError:
            if run.interrupted:
                await self._withdraw(unfinished)
            raise
        finally:
            means.voicing.ended(reply)
            if self._judges_answers and reply.text:
                heard = reply.text[: reply.heard_chars()] if run.interrupted else reply.text
                run.judged = await guard.finished(heard)
            means.remembering.turn(run, reply, emit)
            means.reporting.used(run, emit)

    async def _withdraw(self, unfinished: Unfinished) -> None:
        try:
            await unfinished.withdraw()
        except Exception as error:
            about = {"session": self._session, "code": type(error).__name__}
            logger.warning("the questions of an interrupted answer could not be withdrawn", extra=about)
