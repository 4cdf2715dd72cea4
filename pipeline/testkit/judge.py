"""A language model's verdict on an answer, for what no pattern can tell."""

from __future__ import annotations

import re
from dataclasses import dataclass

from antiphon.engines.protocols import LLM, LLMOptions, Message, TextDelta
from antiphon.pipeline.testkit.turn import Turn

_ASKED = (
    "You check the answers of a voice assistant. You get the user's words, the assistant's answer, and a statement "
    "about the answer. Say YES if the statement is true of the answer, NO if it is not. Then give the reason in one "
    "short sentence."
)


@dataclass(frozen=True, slots=True)
class Judgement:
    holds: bool
    said: str
    """In the model's own words."""


async def judge(llm: LLM, turn: Turn, statement: str) -> Judgement:
    """Whether a model finds the statement true. A reply that begins with neither YES nor NO counts as no."""
    question = f"User: {turn.user}\nAssistant: {turn.text}\nStatement: {statement}\nIs the statement true? YES or NO?"
    messages = [Message("system", _ASKED), Message("user", question)]
    said = ""
    async for event in llm.stream(messages, (), LLMOptions(temperature=0.0, max_tokens=80), "judge"):
        if isinstance(event, TextDelta):
            said += event.text
    return Judgement(re.match(r"\W*yes\b", said, re.IGNORECASE) is not None, " ".join(said.split()))
