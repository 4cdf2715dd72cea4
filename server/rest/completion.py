"""One answer of `/v1/chat/completions` as the protocol frames it, whole or in chunks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from antiphon.engines.protocols import Finish, TextDelta, ToolCall, Usage
from antiphon.pipeline.conversation import new_id


@dataclass(slots=True)
class Completion:
    """One answer, as it grows."""

    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created: int = field(default_factory=lambda: int(time.time()))
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish: str = "stop"

    def take(self, item: Any) -> dict[str, Any] | None:
        """What an event of the model adds, as the protocol's delta; None: nothing that is sent on."""
        match item:
            case TextDelta(text=text):
                self.text += text
                return {"content": text}
            case ToolCall():
                self.calls.append(item)
                return {"tool_calls": [{"index": len(self.calls) - 1, **_call(item)}]}
            case Usage():
                self.usage = item
            case Finish(reason=reason):
                self.finish = "tool_calls" if self.calls and reason == "stop" else reason
        return None

    def chunk(self, delta: dict[str, Any], *, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._frame("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self) -> dict[str, Any]:
        return {**self._frame("chat.completion.chunk"), "choices": [], "usage": self._usage()}

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.calls:
            message["tool_calls"] = [_call(call) for call in self.calls]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}
        return {**self._frame("chat.completion"), "choices": [choice], "usage": self._usage()}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _usage(self) -> dict[str, Any]:
        used = self.usage
        return {
            "prompt_tokens": used.input_tokens,
            "completion_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
            "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        }


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
