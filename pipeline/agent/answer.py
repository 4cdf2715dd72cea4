"""What an agent's run gives a listener: its events, as text and as what the session wants to know."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agents import Agent
from agents.stream_events import StreamEvent

from antiphon.engines.protocols import ToolCall, Usage
from antiphon.pipeline.agent.desk import as_text
from antiphon.pipeline.agent.rules import ToolRules
from antiphon.pipeline.errors import WorkflowError
from antiphon.pipeline.workflow import Filler, ToolResult, WorkflowEvent

SIGN_OF_LIFE = ""
"""No text; but whoever waits knows that somebody is at work."""


class Answer:
    """One answer. Text is held while a guardrail could still object to it."""

    def __init__(self, rules_of: Callable[[str], ToolRules], called: Mapping[str, str] | None = None) -> None:
        """:param called: calls that were told before, as call id to tool name."""
        self._rules_of = rules_of
        self._holds = False
        """An output guardrail judges the whole answer: none of it is given out before."""
        self._held: list[str] = []
        self._text = ""
        """All that the agent has said."""
        self._new_message = False
        self._called: dict[str, str] = dict(called or {})
        """Tool names by call id."""
        self._told: set[str] = set()
        self._fillers: set[str] = set()

    def agent_is(self, agent: Agent[Any]) -> None:
        self._holds = bool(agent.output_guardrails)

    def take(self, event: StreamEvent | None, *, guarded: bool) -> Iterator[str | WorkflowEvent]:
        """What an event of the run means.

        :param guarded: no input guardrail can object any more.
        """
        if event is None:
            yield SIGN_OF_LIFE
        elif event.type == "raw_response_event":
            yield from self._raw(event.data)
        elif event.type == "agent_updated_stream_event":
            self.agent_is(event.new_agent)
        elif event.name in ("tool_called", "handoff_requested"):
            yield from self._call(event.item.raw_item)
        elif event.name in ("tool_output", "handoff_occured"):
            yield from self._result(event.item.raw_item)
        if guarded and not self._holds:
            yield from self._release()

    def end(self, final_output: Any) -> Iterator[str | WorkflowEvent]:
        """The run has ended well.

        :raises WorkflowError: there is nothing to say.
        """
        if not self._text.strip():
            # An agent that stops at its first tool has an answer without the model's having said it.
            if not isinstance(final_output, str) or not final_output.strip():
                raise WorkflowError("the agent ended its turn without a word", hint="a bigger model may do better")
            self._held.append(final_output)
        yield from self._release()

    def handed_over(self) -> Iterator[str]:
        """The run has ended with calls that somebody else does: there need not be anything to say."""
        yield from self._release()

    def refused(self, refusal: str) -> str | None:
        """A guardrail has objected: what is held is never given out. What to say instead, if anything."""
        self._held.clear()
        return refusal or None

    def _release(self) -> Iterator[str]:
        yield from self._held
        self._held.clear()

    def _raw(self, data: Any) -> Iterator[WorkflowEvent]:
        if data.type == "response.output_text.delta":
            text: str = data.delta
            if self._new_message and self._text and not self._text[-1].isspace() and not text[:1].isspace():
                text = " " + text
            self._new_message = False
            self._text += text
            self._held.append(text)
        elif data.type == "response.created":
            self._new_message = True
        elif data.type == "response.completed" and data.response.usage is not None:
            usage = data.response.usage
            yield Usage(usage.input_tokens, usage.output_tokens, usage.input_tokens_details.cached_tokens)

    def _call(self, item: Any) -> Iterator[str | WorkflowEvent]:
        call_id, name = _get(item, "call_id") or _get(item, "id"), _get(item, "name") or _get(item, "type")
        if call_id in self._called:
            return  # a run that goes on after an approval tells its calls again
        self._called[call_id] = name
        yield ToolCall(call_id, name, _get(item, "arguments") or "{}")
        say = self._rules_of(name).say
        if say and not self._text.strip() and say not in self._fillers:
            self._fillers.add(say)
            yield Filler(f"{say} ")

    def _result(self, item: Any) -> Iterator[WorkflowEvent]:
        call_id, output = _get(item, "call_id"), _get(item, "output", raw=True)
        if call_id in self._told:
            return
        self._told.add(call_id)
        text = output if isinstance(output, str) else as_text(output) or json.dumps(output, default=str)
        yield ToolResult(call_id, self._called.get(call_id, ""), text)


def _get(item: Any, name: str, *, raw: bool = False) -> Any:
    found = item.get(name) if isinstance(item, dict) else getattr(item, name, None)
    return found if raw else str(found or "")
