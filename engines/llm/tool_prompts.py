"""The texts with which a small model is asked which tool a request needs, made of the tools' own schemas. Pure.

A small model is bad at choosing from a list and good at telling how likely a text is. So it is not asked for the tool:
each tool gets texts after which its requests are likely, and the tool under which the request is most likely wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from antiphon.engines.llm.self_repair import repaired
from antiphon.engines.llm.spoken_numbers import in_digits
from antiphon.engines.protocols import Message, ToolSpec

TALK_CONTEXTS = (
    "Function: reply\nDescription: Talk with the user: greetings, small talk, general knowledge, opinions.\n"
    "Arguments: text\nExample of what a user says to a voice assistant that then calls it: ",
    "A user asks a voice assistant a question of general knowledge. The user says: ",
    "A user tells a voice assistant about their life. The user says: ",
)
"""What is likely to be followed by words that need no tool."""

ARGUMENTS_INSTRUCTIONS = (
    "You call the function with what the user says. Copy the user's words. Leave out what the user does not say. "
    "If users correct themselves, only the last word counts."
)
_LONGEST_DESCRIPTION = 240
_LONGEST_ARGUMENTS = 400
_MESSAGES_BEFORE = 2


def tool_contexts(tool: ToolSpec) -> tuple[str, str]:
    """Two texts after which a request for the tool is likely."""
    description = " ".join(tool.description.split())[:_LONGEST_DESCRIPTION].rstrip(". ") or tool.name.replace("_", " ")
    wish = description[0].lower() + description[1:]
    arguments = "; ".join(_argument(name, schema) for name, schema in _properties(tool).items())[:_LONGEST_ARGUMENTS]
    return (
        f"A user asks a voice assistant to {wish}. The user says: ",
        f"Function: {tool.name}\nDescription: {description}.\nArguments: {arguments or 'none'}\n"
        "Example of what a user says to a voice assistant that then calls it: ",
    )


def arguments_messages(messages: Sequence[Message]) -> list[Message]:
    """What the model sees while it fills in a call: the last of the conversation, numbers in digits."""
    spoken = [message for message in messages if message.role in ("user", "assistant") and message.content]
    end = next((at for at in range(len(spoken) - 1, -1, -1) if spoken[at].role == "user"), -1) + 1
    recent = spoken[max(0, end - 1 - _MESSAGES_BEFORE) : end]
    recent = [Message(message.role, in_digits(_meant(message))) for message in recent]
    while recent and recent[0].role != "user":
        recent = recent[1:]
    return [Message("system", ARGUMENTS_INSTRUCTIONS), *recent]


def _meant(message: Message) -> str:
    return repaired(message.content) if message.role == "user" else message.content


def last_said(messages: Sequence[Message]) -> str:
    """The last thing that the user said, without what was taken back in it."""
    return next((repaired(message.content) for message in reversed(messages) if message.role == "user"), "")


def everything_said(messages: Sequence[Message]) -> str:
    """All texts of a conversation, instructions included."""
    return "\n".join(message.content for message in messages)


def called_since(messages: Sequence[Message]) -> set[str]:
    """Names of the tools that were called after the user's last message."""
    names: set[str] = set()
    for message in reversed(messages):
        if message.role == "user":
            break
        names |= {call.name for call in message.tool_calls}
    return names


def worded_arguments(tool: ToolSpec) -> frozenset[str]:
    """The arguments whose schema shows no digit: what they hold does not begin with a number."""
    return frozenset(name for name, schema in _properties(tool).items() if not re.search(r"\d", str(schema)))


def without_examples(tool: ToolSpec) -> ToolSpec:
    """A tool whose argument descriptions end before "such as": small models copy the example instead of the user."""
    parameters = dict(tool.parameters)
    properties = {name: _without_example(schema) for name, schema in _properties(tool).items()}
    return replace(tool, parameters={**parameters, "properties": properties}) if properties else tool


def _without_example(schema: object) -> object:
    if not isinstance(schema, Mapping) or not isinstance(schema.get("description"), str):
        return schema
    text = schema["description"]
    for mark in (", such as", " such as", ", for example", " for example", ", e.g.", " e.g.", " (e.g.", ", like "):
        head, found, tail = text.partition(mark)
        if found:
            text = f"{head}.{tail.partition('.')[2]}"
    return {**schema, "description": text}


def _properties(tool: ToolSpec) -> Mapping[str, object]:
    properties = tool.parameters.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _argument(name: str, schema: object) -> str:
    if not isinstance(schema, Mapping):
        return name
    if isinstance(choices := schema.get("enum"), Sequence) and not isinstance(choices, str):
        return f"{name} ({', '.join(map(str, choices))})"
    return f"{name} ({schema.get('description') or schema.get('type', 'any')})"
