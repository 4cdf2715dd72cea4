"""A local server that speaks OpenAI's HTTP protocol by script: what the `openai` engines are tested against.

    with OpenAIStandin(replies=["Hello there."], transcript="hi") as server:
        options = OpenAILLMOptions(base_url=server.base_url)
        server.fail_next("429", retry_after=0.05)
        ...
        assert server.bodies("/chat/completions")[0]["stream"] is True
        assert not server.invalid

A real HTTP server on 127.0.0.1, on a thread of its own. Every request is checked against the `openai` package's own
parameter types, unknown fields included, and every answer is made of its types. Streams are sent in pieces that cut
lines and characters. It fails on demand; it records what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import socket
import struct
import threading
import time
import wave
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
import uvicorn
from numpy.typing import NDArray
from openai.types.audio import SpeechCreateParams, Transcription, TranscriptionCreateParams, TranscriptionVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk, CompletionCreateParams
from pydantic import ConfigDict, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect, Request

Int16 = NDArray[np.int16]

FAILURES = ("half", "stall", "hang", "garbage", "drop", "no_finish", "no_end", "error_event")
"""What `fail_next` takes besides a status code:

half         half of the answer, then the connection breaks
stall        half of the answer, then nothing more
hang         no answer at all
garbage      a whole answer that cannot be read
drop         the head of the answer, then the connection breaks
no_end       (chat) everything up to the chunk that says why it ends, then nothing more
no_finish    (chat) the stream ends properly, but no chunk says why
error_event  (chat) half of the answer, then an error inside the stream
"""

QUIRKS = (
    "no_stream_options", "no_verbose_json", "no_tool_ids", "no_tool_index", "zero_tool_index", "no_usage",
    "wav_always", "wav_unknown_size", "language_codes",
)  # fmt: skip
"""Ways in which real servers differ from the vendor's."""


@dataclass(frozen=True)
class Call:
    """A tool call that the stand-in's model makes."""

    name: str
    arguments: str = "{}"
    id: str = ""


@dataclass(frozen=True)
class Reply:
    """One scripted answer of the chat model."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    """Sent as `reasoning_content`."""
    refusal: str = ""
    finish: str = ""
    """Default: "tool_calls" where there are calls, else "stop"."""
    usage: tuple[int, int, int] = (11, 7, 3)
    """Input, output, cached tokens."""


@dataclass(frozen=True)
class Heard:
    """One scripted transcript, with the figures that verbose_json carries."""

    text: str = ""
    language: str = "english"
    no_speech_prob: float = 0.01
    avg_logprob: float = -0.2


@dataclass
class Recorded:
    """A request as it arrived."""

    path: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    t_s: float
    """Monotonic clock."""
    left_early: threading.Event = field(default_factory=threading.Event)
    """Set once the client has closed the connection before the whole answer was sent."""


@dataclass(frozen=True)
class _Failure:
    kind: str
    retry_after: float | str | None
    message: str
    code: str
    path: str


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


def tone(text: str, rate_hz: int = 24000, seconds_per_char: float = 0.06) -> Int16:
    """Speech for those who only count samples: 440 Hz, as long as the text asks for."""
    n = int(len(text) * seconds_per_char * rate_hz)
    return (np.sin(2 * np.pi * 440 * np.arange(n) / rate_hz) * 10000).astype(np.int16)


class OpenAIStandin:
    """The server; running inside `with`.

    :param replies: answers of the chat model, the last one again and again; or a function of the request's body.
    :param transcript: what speech is heard as, likewise; or a function of (samples, rate).
    :param speech: makes int16 samples at `speech_rate_hz` of a text.
    :param api_key: if set, requests without it are refused, and the refusal quotes what they sent.
    :param models: if set, requests for other models get a 404.
    :param delay_s: pause before each piece of a streamed answer.
    :param cuts: sizes in bytes of the pieces that are sent, over and over.
    :param quirks: of :data:`QUIRKS`.
    :param extra_fields: request fields that are taken though the vendor's API has not got them.
    """

    def __init__(
        self,
        replies: Sequence[str | Reply] | Callable[[dict[str, Any]], str | Reply] = ("Hello there.",),
        transcript: str | Heard | Sequence[str | Heard] | Callable[[Int16, int], str | Heard] = "hello",
        speech: Callable[[str], Int16] = tone,
        *,
        speech_rate_hz: int = 24000,
        api_key: str | None = None,
        models: Collection[str] | None = None,
        delay_s: float = 0.0,
        cuts: Sequence[int] = (7, 1, 13, 2, 31, 3),
        quirks: Collection[str] = (),
        extra_fields: Collection[str] = (),
    ) -> None:
        if unknown := set(quirks) - set(QUIRKS):
            raise ValueError(f"no quirks named {sorted(unknown)}")
        self._reply = replies if callable(replies) else _scripted(replies)
        self._hear = transcript if callable(transcript) else _scripted(transcript)
        self._speech = speech
        self._speech_rate_hz = speech_rate_hz
        self._api_key = api_key
        self._models = models
        self._delay_s = delay_s
        self._cuts = tuple(cuts)
        self._quirks = frozenset(quirks)
        self._extra_fields = frozenset(extra_fields)
        self._failures: deque[_Failure] = deque()
        self.requests: list[Recorded] = []
        self.invalid: list[str] = []
        """Why requests were refused that do not match the protocol's types."""
        self._crashes: list[BaseException] = []
        self._thread: threading.Thread | None = None
        self._socket: socket.socket  # made in __enter__

    # ------------------------------------------------------------------------------------- for tests

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def fail_next(
        self, kind: str, *, times: int = 1, retry_after: float | str | None = None, message: str = "scripted failure",
        code: str = "", path: str = "",
    ) -> None:  # fmt: skip
        """Let the next `times` requests (to `path`, if given; never to /models otherwise) fail.

        :param kind: a status code, or one of :data:`FAILURES`.
        """
        if kind not in FAILURES and not (kind.isdecimal() and 300 <= int(kind) < 600):
            raise ValueError(f"'{kind}' is neither a status nor one of {', '.join(FAILURES)}")
        self._failures.extend([_Failure(kind, retry_after, message, code, path)] * times)

    def of(self, path: str) -> list[Recorded]:
        """The requests to a path such as "/chat/completions", in order."""
        return [request for request in self.requests if request.path == path]

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [request.body for request in self.of(path)]

    def __enter__(self) -> OpenAIStandin:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            self._app,
            log_config=None,
            log_level="critical",
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            interface="asgi3",
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="openai-standin", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the stand-in did not start")
            time.sleep(0.002)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(10)
        self._socket.close()
        if self._crashes and error is None:
            raise self._crashes[0]
        if self._crashes and error is not None:
            error.add_note(f"the stand-in crashed: {self._crashes[0]!r}")

    # -------------------------------------------------------------------------------------- the server

    def _serve(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._stopping = asyncio.Event()
            await self._server.serve(sockets=[self._socket])

        asyncio.run(main())

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._answer(scope, receive, send)
        except ClientDisconnect:
            return  # the client left while it sent its body: there is nobody to answer
        except Exception as crash:  # a script that is wrong (a reply function that raises, say)
            self._crashes.append(crash)
            raise

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].removeprefix("/v1")
        request = Request(scope, receive)
        body = await _read_body(request)
        record = Recorded(path, body, dict(request.headers), time.monotonic())
        self.requests.append(record)
        wire = _Wire(receive, send, self._stopping, record.left_early, self._cuts)
        failure = self._failures[0] if self._failures else None
        if failure is not None and (failure.path == path or (not failure.path and path != "/models")):
            self._failures.popleft()
        else:
            failure = None
        try:
            if failure is not None and failure.kind.isdecimal():
                raise _scripted_status(failure)
            self._check_key(request)
            handler = {
                "/chat/completions": self._chat,
                "/audio/transcriptions": self._transcribe,
                "/audio/speech": self._speak,
                "/models": self._list_models,
            }.get(path)
            if handler is None:
                raise _Refused(404, f"no such path: {path}")
            await handler(wire, body, failure.kind if failure else "")
        except _Refused as refused:
            error = {"message": refused.message, "type": "error", "param": None, "code": refused.code or None}
            await wire.whole(json.dumps({"error": error}), status=refused.status, headers=refused.headers)

    def _check_key(self, request: Request) -> None:
        sent = request.headers.get("authorization", "")
        if self._api_key is not None and sent != f"Bearer {self._api_key}":
            raise _Refused(401, f"Incorrect API key provided: {sent.removeprefix('Bearer ')}", "invalid_api_key")

    def _check(self, adapter: TypeAdapter[Any], body: dict[str, Any]) -> None:
        known = {key: value for key, value in body.items() if key not in self._extra_fields}
        try:
            _exhaust(adapter.validate_python([known]))
        except ValidationError as error:
            self.invalid.append(str(error))
            raise _Refused(400, f"invalid request: {str(error)[:500]}") from None
        if self._models is not None and body["model"] not in self._models:
            raise _Refused(404, f"The model '{body['model']}' does not exist", "model_not_found")

    async def _list_models(self, wire: _Wire, body: dict[str, Any], failure: str) -> None:
        names = self._models or ("standin",)
        data = [{"id": name, "object": "model", "created": 1, "owned_by": "standin"} for name in names]
        await wire.whole(json.dumps({"object": "list", "data": data}))

    # -------------------------------------------------------------------------------------------- chat

    async def _chat(self, wire: _Wire, body: dict[str, Any], failure: str) -> None:
        self._check(_CHAT, body)
        if "no_stream_options" in self._quirks and "stream_options" in body:
            raise _Refused(400, "Unrecognized request argument supplied: stream_options")
        if failure == "hang":
            return await wire.hang()
        reply = self._reply(body)
        reply = Reply(reply) if isinstance(reply, str) else reply
        if not body.get("stream"):
            return await wire.whole(_completion(reply, body["model"]).model_dump_json())
        events = list(self._chat_events(reply, body))
        await wire.start("text/event-stream")
        if failure == "garbage":
            await wire.send(b"data: {not json at all\n\n")
            return await wire.end()
        if failure in ("half", "stall", "error_event"):
            events = events[: max(2, len(events) // 2)]
        if failure == "no_end":
            events = [event for event in events if '"choices":[]' not in event]
        if failure == "no_finish":
            events = [event for event in events if '"finish_reason":null' in event]
        for event in [] if failure == "drop" else events:
            await asyncio.sleep(self._delay_s)
            await wire.send(f": keep-alive\n\ndata: {event}\n\n".encode())
        if failure in ("half", "drop"):
            return  # without the end: the server breaks the connection
        if failure in ("stall", "no_end"):
            return await wire.hang()
        if failure == "error_event":
            await wire.send(b'data: {"error": {"message": "the model fell over", "type": "server_error"}}\n\n')
        await wire.send(b"data: [DONE]\n\n")
        await wire.end()

    def _chat_events(self, reply: Reply, body: dict[str, Any]) -> Iterator[str]:
        def event(delta: dict[str, Any], finish: str | None = None) -> str:
            choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
            return _chunk(body["model"], [choice])

        yield event({"role": "assistant", "content": ""})
        for piece in _pieces(reply.thinking):
            yield event({"reasoning_content": piece})
        for piece in _pieces(reply.text):
            yield event({"content": piece})
        for piece in _pieces(reply.refusal):
            yield event({"refusal": piece})
        for index, call in enumerate(reply.calls):
            for delta in self._call_deltas(index, call):
                yield event({"tool_calls": [delta]})
        yield event({}, reply.finish or ("tool_calls" if reply.calls else "stop"))
        wanted = (body.get("stream_options") or {}).get("include_usage")
        if wanted and "no_usage" not in self._quirks:
            yield _chunk(body["model"], [], _usage(reply))

    def _call_deltas(self, index: int, call: Call) -> Iterator[dict[str, Any]]:
        """The vendor's way: id and name first, then the arguments in pieces. Or, by quirk, all at once."""
        head: dict[str, Any] = {"index": index, "id": call.id or f"call_{index}", "type": "function"}
        if "no_tool_ids" in self._quirks:
            del head["id"]
        if self._quirks & {"no_tool_index", "zero_tool_index"}:
            head["index"] = 0 if "zero_tool_index" in self._quirks else None
            yield {**head, "function": {"name": call.name, "arguments": call.arguments}}
            return
        yield {**head, "function": {"name": call.name, "arguments": ""}}
        for start in range(0, len(call.arguments), 5):
            yield {"index": index, "function": {"arguments": call.arguments[start : start + 5]}}

    # ------------------------------------------------------------------------------------------- audio

    async def _transcribe(self, wire: _Wire, body: dict[str, Any], failure: str) -> None:
        self._check(_TRANSCRIPTION, body)
        verbose = body.get("response_format") == "verbose_json"
        if verbose and "no_verbose_json" in self._quirks:
            raise _Refused(400, "response_format 'verbose_json' is not compatible with this model")
        if failure == "hang":
            return await wire.hang()
        with wave.open(io.BytesIO(body["file"])) as file:
            rate_hz = file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        heard = self._hear(samples, rate_hz)
        heard = Heard(heard) if isinstance(heard, str) else heard
        words = "word" in body.get("timestamp_granularities", ())
        answer = self._verbose(heard, len(samples) / rate_hz, words) if verbose else Transcription(text=heard.text)
        text = answer.model_dump_json(exclude_none=True)
        if failure == "garbage":
            text = "{" + text
        if failure in ("half", "stall", "drop"):
            await wire.start("application/json", length=len(text.encode()))
            await wire.send(text.encode()[: 0 if failure == "drop" else len(text) // 2])
            return await wire.hang() if failure == "stall" else None
        await wire.whole(text)

    def _verbose(self, heard: Heard, seconds: float, with_words: bool) -> TranscriptionVerbose:
        parts = heard.text.split()
        step = seconds / max(1, len(parts))
        words = [{"word": word, "start": i * step, "end": (i + 1) * step} for i, word in enumerate(parts)]
        segment = {
            "id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": heard.text, "tokens": [], "temperature": 0.0,
            "avg_logprob": heard.avg_logprob, "compression_ratio": 1.0, "no_speech_prob": heard.no_speech_prob,
        }  # fmt: skip
        language = "en" if "language_codes" in self._quirks else heard.language
        return TranscriptionVerbose.model_validate(
            {"duration": seconds, "language": language, "text": heard.text, "segments": [segment],
             "words": words if with_words else None}
        )  # fmt: skip

    async def _speak(self, wire: _Wire, body: dict[str, Any], failure: str) -> None:
        self._check(_SPEECH, body)
        if failure == "hang":
            return await wire.hang()
        pcm = self._speech(body["input"]).astype("<i2").tobytes()
        kind = "wav" if "wav_always" in self._quirks else body.get("response_format", "mp3")
        if kind == "wav":
            size = 0xFFFFFFFF if "wav_unknown_size" in self._quirks else len(pcm)
            pcm = wav_header(size, self._speech_rate_hz) + pcm
        elif kind != "pcm":
            pcm = b"ID3\x04" + pcm
        if failure == "garbage":
            return await wire.whole("<html>busy</html>", content_type="text/html")
        await wire.start(f"audio/{kind}")
        if failure in ("half", "stall", "drop"):
            pcm = pcm[: 0 if failure == "drop" else len(pcm) // 2 + 1]
        step = 4801  # odd: samples are cut in the middle
        for start in range(0, len(pcm), step):
            await asyncio.sleep(self._delay_s)
            await wire.send(pcm[start : start + step], cut=False)
        if failure == "stall":
            return await wire.hang()
        if failure not in ("half", "drop"):
            await wire.end()


class _Wire:
    """One answer on its way out."""

    def __init__(
        self, receive: Any, send: Any, stopping: asyncio.Event, left_early: threading.Event, cuts: Sequence[int]
    ) -> None:
        self._receive = receive
        self._send = send
        self._stopping = stopping
        self._left_early = left_early
        self._cuts = itertools.cycle(cuts)
        self._watch: asyncio.Task[None] | None = None
        self._ended = False

    async def start(
        self, content_type: str, status: int = 200, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        fields = {"content-type": content_type, **(headers or {})}
        if length is not None:
            fields["content-length"] = str(length)
        raw = [(name.encode(), value.encode()) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        self._watch = asyncio.create_task(self._wait_for_leaving())

    async def send(self, data: bytes, *, cut: bool = True) -> None:
        while data:
            size = next(self._cuts) if cut else len(data)
            await self._send({"type": "http.response.body", "body": data[:size], "more_body": True})
            data = data[size:]
            await asyncio.sleep(0)

    async def end(self) -> None:
        self._ended = True
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(
        self, text: str, *, status: int = 200, headers: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> None:  # fmt: skip
        data = text.encode()
        await self.start(content_type, status, headers, len(data))
        await self.send(data, cut=False)
        await self.end()

    async def hang(self) -> None:
        """Until the client leaves or the server stops."""
        leaving = self._watch or asyncio.create_task(self._wait_for_leaving())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([leaving, stopping], return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        stopping.cancel()

    async def _wait_for_leaving(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._ended:
            self._left_early.set()


def wav_header(size: int, rate_hz: int, *, channels: int = 1, bits: int = 16, code: int = 1) -> bytes:
    """The 44 bytes before a WAV's audio; `size` as it stands there, in bytes."""
    width = channels * bits // 8
    layout = struct.pack("<HHIIHH", code, channels, rate_hz, rate_hz * width, width, bits)
    total = min(0xFFFFFFFF, size + 36)
    return b"RIFF" + struct.pack("<I", total) + b"WAVEfmt " + struct.pack("<I", 16) + layout + b"data" + struct.pack(
        "<I", size
    )  # fmt: skip


_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
_CHAT: TypeAdapter[Any] = TypeAdapter(list[CompletionCreateParams], config=_STRICT)
_TRANSCRIPTION: TypeAdapter[Any] = TypeAdapter(list[TranscriptionCreateParams], config=_STRICT)
_SPEECH: TypeAdapter[Any] = TypeAdapter(list[SpeechCreateParams], config=_STRICT)


def _exhaust(value: Any) -> None:
    """Walk through a validated value: pydantic checks what is declared as Iterable only when it is read."""
    if isinstance(value, Mapping):
        for item in value.values():
            _exhaust(item)
    elif not isinstance(value, (str, bytes)) and hasattr(value, "__iter__"):
        for item in value:
            _exhaust(item)


async def _read_body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        fields: dict[str, Any] = {}
        async with request.form(max_part_size=64 << 20) as form:
            for name, value in form.multi_items():
                content = value if isinstance(value, str) else await value.read()
                if name.endswith("[]"):
                    fields.setdefault(name.removesuffix("[]"), []).append(content)
                else:
                    fields[name] = float(content) if name == "temperature" else content
        return fields
    raw = await request.body()
    return dict(json.loads(raw)) if raw else {}


def _scripted(script: Any) -> Callable[..., Any]:
    """Yields the items in order, then the last one again and again."""
    items = deque([script] if isinstance(script, (str, Heard, Reply)) else script)
    return lambda *_: items.popleft() if len(items) > 1 else items[0]


def _scripted_status(failure: _Failure) -> _Refused:
    headers = {} if failure.retry_after is None else {"retry-after": str(failure.retry_after)}
    if failure.kind.startswith("3"):
        headers["location"] = "http://elsewhere.invalid/v1/x?token=abc"
    return _Refused(int(failure.kind), failure.message, failure.code, headers)


def _pieces(text: str) -> Iterator[str]:
    """Token-like pieces: words with the space before them."""
    start = 0
    for position in range(1, len(text) + 1):
        if position == len(text) or text[position] == " ":
            yield text[start:position]
            start = position


def _chunk(model: str, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> str:
    wire = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": choices}
    if usage is not None:
        wire["usage"] = usage
    quirky = any(call.get("index", 0) is None for choice in choices for call in choice["delta"].get("tool_calls", ()))
    if not quirky:
        ChatCompletionChunk.model_validate(wire)
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":"))


def _usage(reply: Reply) -> dict[str, Any]:
    given, made, cached = reply.usage
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made,
            "prompt_tokens_details": {"cached_tokens": cached}}  # fmt: skip


def _completion(reply: Reply, model: str) -> ChatCompletion:
    calls = [
        {"id": call.id or f"call_{i}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for i, call in enumerate(reply.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": reply.refusal or None}
    if calls:
        message["tool_calls"] = calls
    finish = reply.finish or ("tool_calls" if calls else "stop")
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return ChatCompletion.model_validate(
        {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice],
         "usage": _usage(reply)}
    )  # fmt: skip


async def collect(stream: AsyncIterator[Any]) -> list[Any]:
    """All items of a stream."""
    return [item async for item in stream]
