"""Renders a chat with the model's own template, and bridges what the template cannot say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from antiphon.engines.errors import EngineRequestInvalid
from antiphon.engines.protocols import Message, ToolCall, ToolSpec

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For models that bring no template."""

GUARD = "\ue000"
"""Set into message text to break up what would tokenise as a control token; the tokeniser drops it again."""

_TOOL_PROMPT = """You can call tools. These exist, one JSON object a line:
{tools}
To call one, answer with nothing but
<tool_call>
{{"name": "the tool's name", "arguments": {{"argument": "value"}}}}
</tool_call>
You then get its result between <tool_response> tags. Call a tool only if it is needed to answer."""


class ChatTemplate:
    """A compiled template and what was found out about it.

    :param source: Jinja text, as in a GGUF's `tokenizer.chat_template`.
    :param variables: further variables for the template (`bos_token`, `eos_token`, `enable_thinking`, ...).
    :raises ValueError: the template is no valid Jinja.
    """

    def __init__(self, source: str, variables: Mapping[str, Any] | None = None) -> None:
        self._template = _compile(source)
        self._variables = dict(variables or {})
        self.tools = _names_tools(source)
        """Whether the template has a tool format of its own."""
        self._system = self._keeps(_SYSTEM, "S-1")
        self._later_system = self._system and self._keeps(_LATER_SYSTEM, "S-2")
        self._alternates = not self._keeps((Message("user", "U-1"), Message("user", "U-2")), "U-2")

    def render(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec] = (), *, generation_prompt: bool = True
    ) -> str:
        """The prompt text.

        :raises EngineRequestInvalid: the template refuses these messages.
        """
        import jinja2

        try:
            return self._render(self._adapt(messages, tools), tools if self.tools else (), generation_prompt)
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise EngineRequestInvalid(
                f"the model's chat template refuses these messages: {error}",
                stage="llm",
                engine="llama_cpp",
                hint="check the order of roles, or set llm.chat_template: chatml",
                about="messages",
            ) from error

    def sure_prefix(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> str:
        """The part of the prompt that stays as it is however the chat goes on.

        After a user message: it may still grow (words agreed so far), so up to its end. After anything else: up to
        where the next message's text begins.
        """
        if not messages:
            return ""
        last = messages[-1]
        if last.role == "user":
            ways = [
                self.render([*messages[:-1], replace(last, content=last.content + more)], tools)
                for more in ("", "a", "\u4e00", ", 1")
            ]
        else:
            ways = [self.render([*messages, Message("user", more)], tools) for more in ("a", "\u4e00")]
            if last.role == "tool":
                ways.append(self.render(messages, tools))
        return _common_prefix(ways)

    # ------------------------------------------------------------------------- inside

    def _adapt(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Message]:
        adapted = _merge_leading_system(messages)
        if not self.tools:
            adapted = _with_tool_prompt(adapted, tools)
        if not self._later_system:
            adapted = _later_system_as_user(adapted)
        if not self._system:
            adapted = _system_as_user(adapted)
        return _alternating(adapted) if self._alternates else adapted

    def _render(self, messages: Sequence[Message], tools: Sequence[ToolSpec], generation_prompt: bool) -> str:
        rendered: str = self._template.render(
            messages=[_as_dict(message) for message in messages],
            tools=[_tool_as_dict(tool) for tool in tools] or None,
            add_generation_prompt=generation_prompt,
            raise_exception=_raise_exception,
            **self._variables,
        )
        return rendered

    def _keeps(self, messages: Sequence[Message], text: str) -> bool:
        import jinja2

        try:
            return text in self._render(messages, (), True)
        except (jinja2.TemplateError, TypeError, ValueError):
            return False


_SYSTEM = (Message("system", "S-1"), Message("user", "U-1"))
_LATER_SYSTEM = (*_SYSTEM, Message("assistant", "A-1"), Message("system", "S-2"), Message("user", "U-2"))


def guard(text: str, control_tokens: Sequence[str]) -> str:
    """Break every control token's text in a message, so that a message cannot end its own role."""
    text = text.replace(GUARD, "")
    for token in control_tokens:
        if token in text:
            text = text.replace(token, token[0] + GUARD + token[1:])
    return text


def guard_message(message: Message, control_tokens: Sequence[str]) -> Message:
    """A message whose text and call arguments cannot be read as control tokens."""
    calls = tuple(
        ToolCall(call.id, guard(call.name, control_tokens), guard(call.arguments, control_tokens))
        for call in message.tool_calls
    )
    return replace(message, content=guard(message.content, control_tokens), tool_calls=calls)


def _compile(source: str) -> Any:
    import jinja2
    import jinja2.ext
    import jinja2.nodes
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's part for training; here its body is simply rendered."""

        tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

        def parse(self, parser: Any) -> list[jinja2.nodes.Node]:
            next(parser.stream)
            body: list[jinja2.nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return body

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation]
    )
    # Jinja's own filter escapes for HTML; chat templates mean plain JSON.
    environment.filters["tojson"] = _tojson
    try:
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise ValueError(f"line {getattr(error, 'lineno', '?')}: {error}") from error


def _names_tools(source: str) -> bool:
    import jinja2.meta
    import jinja2.sandbox

    environment = jinja2.sandbox.SandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return "tools" in jinja2.meta.find_undeclared_variables(environment.parse(source))
    except jinja2.TemplateError:  # a {% generation %} tag: it parsed above, so only the extension is missing here
        return "tools" in source


def _tojson(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _as_dict(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        data["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _arguments(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        data["tool_call_id"] = message.tool_call_id
    if message.name:
        data["name"] = message.name
    return data


def _tool_as_dict(tool: ToolSpec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _common_prefix(texts: Sequence[str]) -> str:
    low, high = min(texts), max(texts)
    size = next((index for index, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    return low[:size]


# ------------------------------------------------------------- bridges for what a template cannot say


def _merge_leading_system(messages: Sequence[Message]) -> list[Message]:
    count = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    if count < 2:
        return list(messages)
    merged = "\n\n".join(message.content for message in messages[:count] if message.content)
    return [Message("system", merged), *messages[count:]]


def _with_tool_prompt(messages: list[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    plain = [_call_as_text(message) for message in messages]
    if not tools:
        return plain
    lines = "\n".join(_tojson(_tool_as_dict(tool)["function"]) for tool in tools)
    prompt = _TOOL_PROMPT.format(tools=lines)
    if plain and plain[0].role == "system":
        return [replace(plain[0], content=f"{plain[0].content}\n\n{prompt}"), *plain[1:]]
    return [Message("system", prompt), *plain]


def _call_as_text(message: Message) -> Message:
    if message.role == "tool":
        return Message("user", f"<tool_response>\n{message.content}\n</tool_response>")
    if not message.tool_calls:
        return message
    parts = [message.content] if message.content else []
    for call in message.tool_calls:
        body = _tojson({"name": call.name, "arguments": _arguments(call.arguments)})
        parts.append(f"<tool_call>\n{body}\n</tool_call>")
    return Message("assistant", "\n".join(parts))


def _later_system_as_user(messages: list[Message]) -> list[Message]:
    return [
        replace(message, role="user") if index and message.role == "system" else message
        for index, message in enumerate(messages)
    ]


def _system_as_user(messages: list[Message]) -> list[Message]:
    if not messages or messages[0].role != "system":
        return messages
    system, rest = messages[0], messages[1:]
    if rest and rest[0].role == "user":
        return [replace(rest[0], content=f"{system.content}\n\n{rest[0].content}"), *rest[1:]]
    return [replace(system, role="user"), *rest]


def _alternating(messages: list[Message]) -> list[Message]:
    """For templates that insist on user, assistant, user, ...: join neighbours of one role, begin with the user."""
    out: list[Message] = []
    for message in messages:
        if out and out[-1].role == message.role and message.role in ("user", "assistant"):
            joined = "\n\n".join(part for part in (out[-1].content, message.content) if part)
            out[-1] = replace(message, content=joined, tool_calls=(*out[-1].tool_calls, *message.tool_calls))
        else:
            out.append(message)
    first = 1 if out and out[0].role == "system" else 0
    if len(out) > first and out[first].role == "assistant":
        out.insert(first, Message("user", "(The conversation begins.)"))
    return out
