"""What `/v1/chat/completions` takes, as data; and as the LLM contract wants it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from antiphon.engines.protocols import LLMOptions, Message, ToolCall, ToolSpec
from antiphon.pipeline.conversation import Conversation, Item, new_id
from antiphon.server.rest.errors import ApiError

Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Given(BaseModel):
    """Clients send more than is used here; the rest is ignored. What is used is of the type that is described."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class TextPart(_Given):
    type: Literal["text"]
    text: str


class OtherPart(_Given):
    """A picture, a sound, a file."""

    type: str


class FunctionCall(_Given):
    name: Name
    arguments: str = "{}"


class CallGiven(_Given):
    id: Name
    type: Literal["function"] = "function"
    function: FunctionCall


class MessageGiven(_Given):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart | OtherPart] | None = None
    name: str | None = None
    tool_calls: list[CallGiven] | None = None
    tool_call_id: str | None = None


class FunctionGiven(_Given):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ToolGiven(_Given):
    type: Literal["function"]
    function: FunctionGiven


class ChosenFunction(_Given):
    name: Name


class ChosenTool(_Given):
    type: Literal["function"] = "function"
    function: ChosenFunction


class Schema(_Given):
    name: str = "answer"
    json_schema: dict[str, Any] = Field(alias="schema")


class Format(_Given):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class StreamOptions(_Given):
    include_usage: bool = False


def _no_logprobs(wanted: bool) -> bool:
    if wanted:
        raise ValueError("the engines here do not tell them")
    return wanted


class ChatRequest(_Given):
    """A conversation, and how to go on with it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"model": "any", "messages": [{"role": "user", "content": "What time is it?"}]}],
        }
    )

    model: Name = Field(description="A configured model or an alias: the language model; `antiphon-agent`: all of it.")
    messages: Annotated[list[MessageGiven], Field(min_length=1, max_length=2000)]
    stream: bool = Field(False, description="As server-sent events, while it is written.")
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    logprobs: Annotated[bool, AfterValidator(_no_logprobs)] | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=2)] | None = None
    tools: Annotated[list[ToolGiven], Field(max_length=128)] | None = None
    functions: list[Any] | None = Field(None, description="The old form of `tools`: refused, use those.")
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    response_format: Format | None = None
    user: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Model `antiphon-agent`: whose conversation this is, for the record."
    )
    safety_identifier: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The newer name of `user`."
    )

    @property
    def wants_usage(self) -> bool:
        """A last chunk with the tokens."""
        return self.stream_options is not None and self.stream_options.include_usage

    def as_messages(self) -> list[Message]:
        """
        :raises ApiError: a part is no text.
        """
        return [_message(number, message) for number, message in enumerate(self.messages)]

    def as_turn(self) -> tuple[str, Conversation]:
        """What the user says now, and what was said before, for the workflow.

        :raises ApiError: it is not the user who spoke last, or something is asked that the workflow decides.
        """
        for name, given in (
            ("tools", self.tools),
            ("functions", self.functions),
            ("tool_choice", self.tool_choice not in (None, "auto")),
            ("response_format", self.response_format is not None and self.response_format.type != "text"),
        ):
            if given:
                message = f"{name}: the tools and the form of the answers of this model are those of its configuration"
                raise ApiError(400, "not_supported", message, param=name)
        *before, last = self.as_messages()
        if last.role != "user" or not last.content.strip():
            place = f"messages.{len(before)}"
            message = f"{place}: the last message has to be the user's, with something said in it"
            raise ApiError(400, "invalid_request", message, param=place)
        return last.content, Conversation([item for message in before for item in _items(message)])

    def as_tools(self) -> list[ToolSpec]:
        """
        :raises ApiError: they are given in the old form.
        """
        if self.functions:
            message = "functions: this is the old form; give the functions as tools, and tool_choice"
            raise ApiError(400, "not_supported", message, param="functions")
        empty = {"type": "object", "properties": {}}
        return [
            ToolSpec(tool.function.name, tool.function.description or "", tool.function.parameters or empty)
            for tool in self.tools or ()
        ]

    def as_options(self) -> LLMOptions:
        """
        :raises ApiError: a tool is asked for that is not among the tools.
        """
        return LLMOptions(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            seed=self.seed,
            tool_choice=self._choice(),
            json_schema=self._schema(),
        )

    def _choice(self) -> str | None:
        choice = self.tool_choice
        if not isinstance(choice, ChosenTool):
            return choice
        if choice.function.name not in [tool.function.name for tool in self.tools or ()]:
            message = f"tool_choice: '{choice.function.name}' is not among the tools"
            raise ApiError(400, "invalid_request", message, param="tool_choice")
        return choice.function.name

    def _schema(self) -> Mapping[str, Any] | None:
        match self.response_format:
            case Format(type="json_schema", json_schema=Schema() as schema):
                return schema.json_schema
            case Format(type="json_schema"):
                raise ApiError(
                    400, "invalid_request", "response_format: a json_schema is missing", param="response_format"
                )
            case Format(type="json_object"):
                return {"type": "object"}
        return None


def _items(message: Message) -> list[Item]:
    if message.role == "tool":
        call_id, name = message.tool_call_id or "", message.name or ""
        return [Item(id=new_id(), kind="function_call_output", call_id=call_id, name=name, text=message.content)]
    calls = [
        Item(
            id=new_id(),
            kind="function_call",
            role="assistant",
            call_id=call.id,
            name=call.name,
            arguments=call.arguments,
        )
        for call in message.tool_calls
    ]
    said = [Item(id=new_id(), role=message.role, text=message.content)] if message.content else []
    return [*said, *calls]


def _message(number: int, given: MessageGiven) -> Message:
    calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in given.tool_calls or ())
    if given.role == "tool" and given.tool_call_id is None:
        place = f"messages.{number}"
        raise ApiError(400, "invalid_request", f"{place}: a message of a tool needs tool_call_id", param=place)
    return Message(
        "system" if given.role == "developer" else given.role,
        _text(number, given.content or ""),
        tool_calls=calls if given.role == "assistant" else (),
        tool_call_id=given.tool_call_id,
        name=given.name,
    )


def _text(number: int, content: str | Sequence[TextPart | OtherPart]) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        if not isinstance(part, TextPart):
            place = f"messages.{number}.content"
            why = (
                "a part of the type 'text' needs a text"
                if part.type == "text"
                else (f"parts of the type '{part.type}' cannot be read here")
            )
            raise ApiError(400, "invalid_request", f"{place}: {why}", param=place)
        texts.append(part.text)
    return "\n".join(texts)
