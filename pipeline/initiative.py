"""What a session says of its own accord: a greeting, lines that answer nobody, what an earlier session left open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from antiphon.pipeline.answering import Answering
from antiphon.pipeline.guarding import Unfinished
from antiphon.pipeline.line import Line
from antiphon.pipeline.run import Run
from antiphon.pipeline.workflow import Workflow, WorkflowEvent, pieces


class Initiative:
    """One per session. All of it is said after what is being said; none of it waits."""

    def __init__(
        self,
        *,
        answering: Answering,
        line: Line,
        workflow: Workflow,
        greeting: str,
        greets: bool,
        unfinished: Unfinished | None,
    ) -> None:
        """
        :param greeting: said first; "": what the workflow says on its start.
        :param greets: somebody listens from the start.
        """
        self._answering = answering
        self._line = line
        self._workflow = workflow
        self._greeting = greeting
        self._greets = greets
        self._unfinished = unfinished

    def greet(self) -> None:
        """Say what the conversation begins with."""
        if self._greeting and self._greets:
            self.say(self._greeting)
        elif self._greets and (on_start := getattr(self._workflow, "on_start", None)):
            self._say(pieces(on_start, may_be_silent=True))
        if self._unfinished is not None:
            self._go_on_with(self._unfinished)

    def say(self, text: str, *, interruptible: bool = True) -> None:
        """Speak a text that joins the conversation."""
        self._say(_once(text), interruptible=interruptible)

    def line(self, line: str) -> None:
        """Say one of the session's own lines, which are no part of the conversation."""
        self._start(Run(0, 0, interruptible=False), lambda run: self._answering.say_line(run, line))

    def _say(self, source: AsyncIterator[str | WorkflowEvent], *, interruptible: bool = True) -> None:
        self._start(Run(0, 0, interruptible=interruptible), lambda run: self._answering.say(run, source))

    def _go_on_with(self, unfinished: Unfinished) -> None:
        """Answer what an earlier session has left open, before anything that is said now."""
        self._start(Run(0, 0), lambda run: self._answering.go_on(run, unfinished))

    def _start(self, run: Run, work: Any) -> None:
        run.committed.set()
        run.task = self._line.join(run, work(run))


async def _once(text: str) -> AsyncIterator[str]:
    yield text
