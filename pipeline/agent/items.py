"""A conversation as the SDK's input items.

The session's history is the truth: what was heard, the calls and what they gave. Everything here is a pure function of
it, so that the same conversation always gives the same prompt, byte by byte, and each prompt begins with the one
before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from agents.items import TResponseInputItem
from agents.models.chatcmpl_converter import Converter

from antiphon.engines import protocols
from antiphon.engines.protocols import Message, ToolCall
from antiphon.pipeline.agent.desk import as_text
from antiphon.pipeline.errors import WorkflowError

NO_RESULT = "The user interrupted before there was a result."
LATE = "(The result of an earlier call, which had gone on in the background.)\n"


def input_items(history: Sequence[Message]) -> list[TResponseInputItem]:
    """The items of a conversation.

    Each call is followed by its output, as chat templates want it: one that has none gets :data:`NO_RESULT`, and an
    output that came later stands behind a copy of its call. What one side said in a row becomes one item.
    """
    return list(_Items().of(history))


class _Items:
    def __init__(self) -> None:
        self._calls: dict[str, ToolCall] = {}
        self._ids: set[str] = set()

    def of(self, history: Sequence[Message]) -> Iterator[TResponseInputItem]:
        at = 0
        while at < len(history):
            message = history[at]
            if message.tool_calls:
                outputs = _following_outputs(history, at + 1)
                yield from self._round(message, outputs)
                at += 1 + len(outputs)
            elif message.role == "tool":
                yield from self._late(message)
                at += 1
            else:
                said = [message.content]
                while at + 1 < len(history) and _goes_on(message, history[at + 1]):
                    at += 1
                    said.append(history[at].content)
                yield cast(TResponseInputItem, {"role": message.role, "content": "\n".join(said)})
                at += 1

    def _round(self, message: Message, outputs: Sequence[Message]) -> Iterator[TResponseInputItem]:
        if message.content:
            yield cast(TResponseInputItem, {"role": "assistant", "content": message.content})
        ids = {call.id: self._free(call.id) for call in message.tool_calls}
        given: dict[str, str] = {}
        late: list[Message] = []
        for output in outputs:
            call_id = output.tool_call_id or ""
            if call_id in ids and call_id not in given:
                given[call_id] = output.content
            else:  # of an earlier round, or a second one: a job's result behind what was said when it was begun
                late.append(output)
        for call in message.tool_calls:
            self._calls[call.id] = call
            yield _call(ids[call.id], call.name, call.arguments)
        for call in message.tool_calls:
            yield _output(ids[call.id], given.get(call.id, NO_RESULT))
        for output in late:
            yield from self._late(output)

    def _late(self, message: Message) -> Iterator[TResponseInputItem]:
        known = self._calls.get(message.tool_call_id or "")
        name = message.name or (known.name if known else "tool")
        call_id = self._free(message.tool_call_id or name)
        yield _call(call_id, name, known.arguments if known else "{}")
        yield _output(call_id, LATE + message.content)

    def _free(self, call_id: str) -> str:
        """An id that no item has: models count their calls anew each turn, and the SDK drops what looks double."""
        number, free = 1, call_id
        while free in self._ids:
            number += 1
            free = f"{call_id}-{number}"
        self._ids.add(free)
        return free


def _following_outputs(history: Sequence[Message], at: int) -> list[Message]:
    end = at
    while end < len(history) and history[end].role == "tool":
        end += 1
    return list(history[at:end])


def _goes_on(message: Message, following: Message) -> bool:
    return following.role == message.role != "system" and not following.tool_calls


def _call(call_id: str, name: str, arguments: str) -> TResponseInputItem:
    return cast(
        TResponseInputItem,
        {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments or "{}"},
    )


def _output(call_id: str, output: str) -> TResponseInputItem:
    return cast(TResponseInputItem, {"type": "function_call_output", "call_id": call_id, "output": output})


# ------------------------------------------------------------------------------------ items as a prompt


def prompt_messages(system_instructions: str | None, input: str | list[TResponseInputItem]) -> list[Message]:
    """What the LLM is given for a model call of the SDK.

    :raises WorkflowError: an item is no text.
    """
    found = [Message("system", system_instructions)] if system_instructions else []
    for given in Converter.items_to_messages(input):
        message = cast(dict[str, Any], given)
        role: str = message["role"]
        if role == "tool":
            found.append(Message("tool", as_text(message["content"]), tool_call_id=message["tool_call_id"]))
            continue
        calls = tuple(
            ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        )
        role = "system" if role == "developer" else role
        found.append(Message(cast(protocols.Role, role), _text(message.get("content")), tool_calls=calls))
    return found


def _text(content: Any) -> str:
    """The text of a message's content; parts that are no text cannot be given to a text model.

    :raises WorkflowError: the content has an image, audio or file.
    """
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in cast(Iterable[dict[str, Any]], content):
        if "text" not in part:
            raise WorkflowError(
                f"a message has a part of type '{part.get('type')}'; the LLM engines here take text only"
            )
        texts.append(str(part["text"]))
    return "".join(texts)
