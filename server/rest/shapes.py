"""What goes out, described: for `/openapi.json` alone. The answers themselves are made where they are known."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from antiphon.server.rest.encoding import MEDIA_TYPES


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every answer that is none, in OpenAI's form."""

    error: ErrorDetail


class Duration(BaseModel):
    type: Literal["duration"]
    seconds: float


class Transcription(BaseModel):
    """What was said."""

    text: str
    usage: Duration


class Segment(BaseModel):
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class SpokenWord(BaseModel):
    word: str
    start: float
    end: float


class VerboseTranscription(BaseModel):
    """What was said, and when. Times in seconds."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: Duration
    segments: list[Segment] | None = None
    words: list[SpokenWord] | None = None


class FunctionCalled(BaseModel):
    name: str
    arguments: str


class ToolCalled(BaseModel):
    id: str
    type: Literal["function"]
    function: FunctionCalled


class Answered(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCalled] | None = None


class Choice(BaseModel):
    index: int
    message: Answered
    logprobs: None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]


class CachedTokens(BaseModel):
    cached_tokens: int


class TokenUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatCompletion(BaseModel):
    """The next message of a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage


class Model(BaseModel):
    """Something that can be asked for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Alive(BaseModel):
    status: Literal["ok"]


Described = dict[int | str, dict[str, Any]]

_EVENTS: dict[str, Any] = {}
"""Streams of events: a schema could only say that they are text."""
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}


def _error(told: str) -> dict[str, Any]:
    return {"model": ErrorBody, "description": told}


_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds after which another try is worth it.", "schema": {"type": "integer"}}
}

ERRORS: Described = {
    400: _error("The request cannot be answered as it is; `param` says which part of it."),
    401: _error("No key, or none that is known here."),
    403: _error("The key is not for this, or the page that asks is not allowed to."),
    413: _error("The body is longer than `server.max_upload_mb`."),
    429: {**_error("Too many requests with this key."), "headers": _RETRY_AFTER},
    "4XX": _error("Anything else about the request itself."),
    500: _error("Something broke here; the server's log says what."),
    503: {
        **_error("Not now: the engines are loading, busy or out of order, or the server shuts down."),
        "headers": _RETRY_AFTER,
    },
    504: _error("An engine gave no answer in time."),
}
"""How the calls that need engines fail."""

REFUSALS: Described = {status: ERRORS[status] for status in (401, 403, 429, "4XX", 500)}
"""How those fail that need none."""

NOT_FOUND: Described = {404: _error("There is no such model.")}

TEXT_FORMS: Described = {
    200: {
        "model": VerboseTranscription | Transcription,
        "description": "What was said, as `response_format` asks.",
        "content": {"text/plain": _TEXT, "text/vtt": _TEXT, "text/event-stream": _EVENTS},
    }
}

CHAT_FORMS: Described = {
    200: {
        "model": ChatCompletion,
        "description": "The answer; as server-sent events with `stream`.",
        "content": {"text/event-stream": _EVENTS},
    }
}

SPEECH_FORMS: Described = {
    200: {
        "description": "The audio, as it is made.",
        "content": {
            **{
                media.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
                for media in MEDIA_TYPES.values()
            },
            "text/event-stream": _EVENTS,
        },
    }
}
