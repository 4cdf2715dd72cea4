"""Checks: what they are, how plain functions become one, and how one is run so that its failure harms nobody."""

from __future__ import annotations

import asyncio
import inspect
import logging
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from antiphon.pipeline.errors import PolicyError
from antiphon.pipeline.patience import within
from antiphon.pipeline.policy.verdicts import Allow, Ask, Block, DecisionKind, Gate, Rewrite, Subject, Verdict

logger = logging.getLogger(__name__)

OnFailure = Literal["closed", "open"]

DEFAULT_TIMEOUT_S = 2.0


class Check(Protocol):
    """One rule. Optional: `bind_llm(llm)`, called once with the session's LLM before the first check."""

    async def check(self, subject: Subject) -> Verdict:
        """Judge. Whatever it raises counts as its failure, and so does its being late."""
        ...


class Redactor(Protocol):
    """Rewrites one text as it comes. What comes out depends on the text alone, never on how it was cut."""

    found: dict[str, int]
    """How many of each kind it has taken out."""
    held: str
    """What it has taken in and not settled."""

    def push(self, text: str) -> str:
        """Take more in; returns what is settled now, whatever follows."""
        ...

    def finish(self) -> str:
        """The text is over: returns the rest."""
        ...


@runtime_checkable
class LocalCheck(Protocol):
    """A check that only ever takes out pieces, and needs no whole sentence for it."""

    def redactor(self) -> Redactor:
        """A new one, for one text."""
        ...


class _Function:
    """A check made of a function."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)

    async def check(self, subject: Subject) -> Any:
        if self._is_async:
            return await self._function(subject)
        # In a thread: a function that blocks must not stop the audio of every session.
        answer = await asyncio.to_thread(self._function, subject)
        return await answer if inspect.isawaitable(answer) else answer


def as_check(thing: Any) -> Check:
    """A check of what a user wrote: an object with `check`, a class of such, or a function of the subject.

    A function may return a verdict, None (allow), text (rewrite), True (allow) or False (block). One that is no
    coroutine function runs in a thread.

    :raises PolicyError: it has none of these forms.
    """
    if isinstance(thing, type):
        try:
            thing = thing()
        except TypeError as error:
            raise PolicyError(
                f"{thing.__name__} cannot be made without arguments: {error}", hint="give an object of it, or options"
            ) from error
    if callable(getattr(thing, "check", None)):
        check: Check = thing
        return check
    if callable(thing):
        return _Function(thing)
    raise PolicyError(
        f"{type(thing).__name__} is no check",
        hint="give an object with 'async def check(self, subject)', or a function of the subject",
    )


@dataclass(frozen=True, slots=True)
class BoundCheck:
    """A check in a gate's list: with its name, its time and what its failure means."""

    name: str
    check: Check
    timeout_s: float = DEFAULT_TIMEOUT_S
    on_failure: OnFailure = "closed"
    failure_line: str = ""
    """Said instead if it fails closed."""

    async def judge(self, subject: Subject) -> tuple[Verdict, DecisionKind]:
        """The check's verdict, and its kind for the record. Raises nothing but a cancellation."""
        try:
            verdict = _as_verdict(await within(self.timeout_s, self.check.check(subject)))
        except TimeoutError as error:
            return self.failure(f"no verdict within {self.timeout_s:g} s", subject.gate, error)
        except Exception as error:
            return self.failure(type(error).__name__, subject.gate, error)
        return verdict, _KINDS[type(verdict)]

    def failure(self, reason: str, gate: Gate, error: Exception) -> tuple[Verdict, DecisionKind]:
        """What a failure comes to."""
        logger.warning(
            "a policy check failed",
            extra={"gate": gate, "check": self.name, "reason": reason, "on_failure": self.on_failure},
        )
        logger.debug("cause of the failed check", exc_info=error)
        if self.on_failure == "open":
            return Allow(reason), "failed_open"
        return Block(self.failure_line, reason), "failed_closed"


_KINDS: dict[type, DecisionKind] = {Allow: "allow", Rewrite: "rewrite", Block: "block", Ask: "ask"}


def _as_verdict(answer: Any) -> Verdict:
    """:raises TypeError: nobody can tell what the check means."""
    if isinstance(answer, Allow | Rewrite | Block | Ask):
        return answer
    if answer is None or answer is True:
        return Allow()
    if answer is False:
        return Block()
    if isinstance(answer, str):
        return Rewrite(answer)
    raise TypeError(f"a check gave a {type(answer).__name__}, not a verdict")
