"""Small models that have called a tool tend to write the call down again, as text, where they should say its result.

That must never be spoken: the text is recognised by its first few tokens, and the model is asked again with the results
in plain words, which small models answer well; if that fails too, the results themselves are what is said.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import AsyncGenerator, Sequence
from typing import cast

from antiphon.engines.protocols import LLM, Finish, LLMEvent, LLMOptions, Message, TextDelta

_OPENINGS = ('{"name"', "<tool_call", "<function")
_NOISE = re.compile(r"\s+|^```(json)?|^\[")


def imitates_call(text: str) -> bool | None:
    """Whether a text that goes on begins like a call written down; None: that cannot be told yet."""
    bare = _NOISE.sub("", text.lstrip())
    if not bare or any(opening.startswith(bare) for opening in _OPENINGS) or "```json".startswith(text.strip()):
        return None
    return bare.startswith(_OPENINGS)


def in_words(messages: Sequence[Message]) -> list[Message]:
    """A prompt whose last question has the results of its calls in plain words; all before it stays as it is."""
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    results = [message.content for message in messages[last:] if message.role == "tool"]
    question = messages[last]
    words = f"{question.content}\n\nUse this result: {' '.join(results)}"
    return [*messages[:last], dataclasses.replace(question, content=words)]


def has_results(messages: Sequence[Message]) -> bool:
    """Whether a call since the user last spoke has a result."""
    for message in reversed(messages):
        if message.role == "user":
            return False
        if message.role == "tool":
            return any(earlier.role == "user" for earlier in messages)
    return False


class Imitation(Exception):
    """Raised instead of the text of a call written down."""


async def without_imitation(events: AsyncGenerator[LLMEvent]) -> AsyncGenerator[LLMEvent]:
    """An answer whose beginning is looked at first.

    :raises Imitation: it is a call written down.
    """
    held: str | None = ""
    async with contextlib.aclosing(events):
        async for event in events:
            if held is None or not isinstance(event, TextDelta):
                if held and isinstance(event, Finish):
                    yield TextDelta(held)
                yield event
                continue
            held += event.text
            verdict = imitates_call(held)
            if verdict:
                raise Imitation
            if verdict is False:
                yield TextDelta(held)
                held = None


async def said_in_words(
    llm: LLM, messages: Sequence[Message], options: LLMOptions, session_key: str
) -> AsyncGenerator[LLMEvent]:
    """The answer to a prompt with results, asked for in plain words; if need be, the results themselves."""
    plain = dataclasses.replace(options, tool_choice=None)
    stream = cast(AsyncGenerator[LLMEvent], llm.stream(in_words(messages), (), plain, session_key))
    try:
        async with contextlib.aclosing(without_imitation(stream)) as events:
            async for event in events:
                yield event
    except Imitation:
        last = max(index for index, message in enumerate(messages) if message.role == "user")
        yield TextDelta(" ".join(message.content for message in messages[last:] if message.role == "tool"))
        yield Finish()
