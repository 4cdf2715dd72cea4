"""From token bytes to LLM events: whole characters, no thinking, no tool syntax, stop strings obeyed. Pure."""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Collection, Sequence

from antiphon.engines.errors import EngineFailed
from antiphon.engines.llm.llama_text import LeadingSpace, StopMatcher, Utf8Assembler
from antiphon.engines.llm.thinking import ThinkingFilter
from antiphon.engines.llm.tool_calls import BadCall, ParsedCall, Piece, ToolCallParser
from antiphon.engines.protocols import TextDelta, ToolCall

_log = logging.getLogger(__name__)
_ID_ALPHABET = string.ascii_letters + string.digits


def new_call_id() -> str:
    """A fresh id of 9 letters and digits: the one form that every known chat template accepts."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(9))


class AnswerParser:
    """One answer. Feed it the bytes of each token; it gives the events to send on.

    Text after a tool call is not passed on: without the tool's result the model could only guess. The same call twice
    ends the answer: small models repeat themselves.

    :param tool_names: known tools; with none, JSON without call tags is ordinary text. None: everything is text.
    :param stop: stop strings, matched in the text that would be spoken.
    :param thinking: closing tag if the prompt leaves the model inside a thinking block.
    :param call_allowed: False drops tool calls (tool_choice "none").
    :param plain: nothing but valid JSON is a call; nothing is repaired.
    """

    def __init__(
        self,
        tool_names: Collection[str] | None = (),
        stop: Sequence[str] = (),
        thinking: str = "",
        call_allowed: bool = True,
        plain: bool = False,
    ) -> None:
        self._bytes = Utf8Assembler()
        self._thinking = ThinkingFilter(thinking)
        self._calls = ToolCallParser(tool_names, plain=plain)
        self._stop = StopMatcher(stop)
        self._leading = LeadingSpace()
        self._call_allowed = call_allowed
        self._made: set[tuple[str, str]] = set()
        self._bad: BadCall | None = None
        self._said = False
        self.done = False
        """The answer is complete whatever the model would write next."""

    @property
    def called(self) -> bool:
        """Whether a tool call came out."""
        return bool(self._made) and self._call_allowed

    @property
    def marked(self) -> tuple[str, str] | None:
        """While inside a tagged call: (opening tag, what follows it so far)."""
        return self._calls.marked

    def feed(self, piece: bytes) -> list[TextDelta | ToolCall]:
        if self.done:
            return []
        return self._events(self._calls.feed(self._thinking.feed(self._bytes.feed(piece))))

    def finish(self, *, truncated: bool) -> list[TextDelta | ToolCall]:
        """What was held back. `truncated`: the answer was cut by its length.

        :raises EngineFailed: the answer was nothing but a tool call that cannot be used.
        """
        events: list[TextDelta | ToolCall] = []
        if not self.done:
            events = self._events(self._calls.feed(self._bytes.finish() + self._thinking.finish()))
            events += self._events(self._calls.finish(truncated=truncated))
            if not self.done and not self._made:
                events += self._text(self._stop.finish())
            self.done = True
        if self._bad and not self._said and not self._made and not truncated:
            raise EngineFailed(
                f"the model's answer cannot be used: {self._bad.reason}",
                stage="llm",
                engine="llama_cpp",
                hint="ask again, or use tool_choice to force a call (then a grammar makes it valid)",
            )
        return events

    def _events(self, pieces: list[Piece]) -> list[TextDelta | ToolCall]:
        events: list[TextDelta | ToolCall] = []
        for piece in pieces:
            if self.done:
                break
            if isinstance(piece, ParsedCall):
                events += self._call(piece)
            elif isinstance(piece, BadCall):
                self._bad = piece
                _log.warning("an unusable tool call was dropped", extra={"reason": piece.reason})
            elif self._made:
                self.done = bool(piece.strip())
            else:
                events += self._text(self._stop.feed(piece))
                self.done = self._stop.stopped
        return events

    def _text(self, text: str) -> list[TextDelta | ToolCall]:
        text = self._leading.feed(text)
        self._said = self._said or bool(text)
        return [TextDelta(text)] if text else []

    def _call(self, call: ParsedCall) -> list[TextDelta | ToolCall]:
        events = self._text(self._stop.finish()) if not self._made else []
        key = (call.name, call.arguments)
        if key in self._made:
            self.done = True
            return events
        self._made.add(key)
        if not self._call_allowed:
            return events
        return [*events, ToolCall(new_call_id(), call.name, call.arguments)]
