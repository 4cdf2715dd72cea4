"""`/v1/audio/transcriptions` and `/v1/audio/translations`: recordings to text."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BeforeValidator

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError
from antiphon.engines.protocols import STTOptions, Transcript
from antiphon.engines.stt.whisper_window import cut_quiet
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.subtitles import cues, to_srt, to_vtt
from antiphon.server.rest import speech
from antiphon.server.rest.access import Ready, behind_speech, unless_gone
from antiphon.server.rest.decoding import read_recording
from antiphon.server.rest.errors import ApiError, as_api_error, error_body
from antiphon.server.rest.pace import in_time
from antiphon.server.rest.room import Room
from antiphon.server.rest.shapes import ERRORS, NOT_FOUND, TEXT_FORMS
from antiphon.server.rest.sse import EVENT_STREAM, event
from antiphon.server.service import Service

router = APIRouter(prefix="/v1/audio", tags=["audio"])
router.include_router(speech.router)

_COPY_BYTES = 1 << 20
_MAX_VALUES, _MAX_CHARS = 100, 200
_PIECE_S = 30.0
"""At most so much of a recording is heard before a streamed transcript goes on."""

TextForm = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]

Recording = Annotated[
    UploadFile, File(description="WAV, FLAC, OGG, MP3, WebM or MP4.", json_schema_extra={"format": "binary"})
]
ModelName = Annotated[str, Form(min_length=1, max_length=200, description="A configured model, or an alias.")]
Prompt = Annotated[str | None, Form(max_length=4000, description="How names are written, what came before.")]
Temperature = Annotated[float, Form(ge=0, le=1, description="Ignored: as configured.")]
_RESPONSES = {**TEXT_FORMS, **ERRORS, **NOT_FOUND}


def _true_or_false(given: Any) -> Any:
    """As the schema says, and not every word that may mean yes."""
    if isinstance(given, str) and given.lower() not in ("true", "false"):
        raise ValueError("it is true or false")
    return given


@router.post("/transcriptions", summary="Transcribe a recording", response_model=None, responses=_RESPONSES)
async def transcriptions(
    request: Request,
    service: Ready,
    file: Recording,
    model: ModelName,
    language: Annotated[str | None, Form(max_length=12, description="ISO 639-1.")] = None,
    prompt: Prompt = None,
    response_format: Annotated[TextForm, Form()] = "json",
    temperature: Temperature = 0.0,
    granularities: Annotated[list[Granularity] | None, Form(alias="timestamp_granularities[]")] = None,
    stream: Annotated[bool, BeforeValidator(_true_or_false), Form(description="As server-sent events.")] = False,
) -> Response:
    """What is said in a recording. Fields of newer clients: `keywords[]` (names to expect), and `languages[]`, which
    counts if it is one; of several the engine finds out which it is."""
    service.check_model(model)
    languages, keywords = [await _several(request, f"{name}[]") for name in ("languages", "keywords")]
    spoken = language or (languages[0] if len(languages) == 1 else None)
    options = STTOptions(language=spoken, prompt=prompt or None, hotwords=", ".join(keywords) or None)
    if stream:
        return await _streamed(request, service, file, options)
    heard, seconds = await unless_gone(request, _heard(request, service, file, options, response_format))
    known = heard.language or spoken
    return _answer(heard, seconds, response_format, granularities or ["segment"], language=known)


@router.post("/translations", summary="Translate a recording to English", response_model=None, responses=_RESPONSES)
async def translations(
    request: Request,
    service: Ready,
    file: Recording,
    model: ModelName,
    prompt: Prompt = None,
    response_format: Annotated[TextForm, Form()] = "json",
    temperature: Temperature = 0.0,
) -> Response:
    """What is said in a recording, whatever the language, in English. Needs an engine that translates."""
    service.check_model(model)
    if not service.engines.stt.capabilities.translates:
        message = (
            "the speech-to-text engine here cannot translate: that takes a multilingual Whisper; transcribe instead"
        )
        raise ApiError(400, "not_supported", message, param="model")
    options = STTOptions(prompt=prompt or None, translate=True)
    heard, seconds = await unless_gone(request, _heard(request, service, file, options, response_format))
    return _answer(heard, seconds, response_format, ["segment"], language="english", task="translate")


# ------------------------------------------------------------------------------------ what is heard


async def _heard(
    request: Request, service: Service, file: UploadFile, options: STTOptions, form: TextForm
) -> tuple[Transcript, float]:
    """The transcript of a whole recording, and the recording's length in seconds.

    :raises AntiphonError: the recording cannot be read, or the engine failed.
    """
    stt = service.engines.stt
    timed = stt.capabilities.word_times and form in ("srt", "vtt", "verbose_json")
    async with _recording(request, service, file) as recording:
        seconds = recording.duration_s
        limit_s = service.config.session.stt_deadline_s + seconds
        heard = await in_time("stt", limit_s, stt.transcribe(recording, replace(options, word_times=timed)))
    return heard, seconds


async def _several(request: Request, name: str) -> list[str]:
    """The values of a field that may stand in the form any number of times.

    :raises ApiError: they are too many, too long, or no text.
    """
    found = [value for value in (await request.form()).getlist(name) if value != ""]
    texts = [value for value in found if isinstance(value, str) and len(value) <= _MAX_CHARS]
    if len(texts) < len(found) or len(texts) > _MAX_VALUES:
        message = f"{name}: at most {_MAX_VALUES} texts of at most {_MAX_CHARS} characters"
        raise ApiError(400, "invalid_request", message, param=name)
    return texts


@asynccontextmanager
async def _recording(request: Request, service: Service, file: UploadFile) -> AsyncIterator[AudioFrame]:
    """The upload as audio, for as long as it may be held in memory.

    :raises AudioInputError: it cannot be read; the message names the upload as its sender did.
    :raises ApiError: too many others are held (503).
    """
    state = request.app.state
    if not hasattr(state, "room"):
        state.room = Room()
    async with state.room.place():
        name, max_s = Path(file.filename or "the upload").name, service.settings.max_recording_s
        recording = await asyncio.to_thread(_decoded, file.file, name, service.engines.stt.rate_hz, max_s)
        behind_speech()
        yield recording


def _decoded(upload: BinaryIO, name: str, rate_hz: int, max_s: float) -> AudioFrame:
    """By way of a file with a name, which decoders want."""
    with tempfile.NamedTemporaryFile(prefix="antiphon-") as copy:
        shutil.copyfileobj(upload, copy, _COPY_BYTES)
        copy.flush()
        try:
            return read_recording(Path(copy.name), rate_hz, max_s=max_s)
        except AudioInputError as error:
            raise AudioInputError(error.message.replace(copy.name, name)) from error


# ------------------------------------------------------------------------------------ piece by piece


async def _streamed(request: Request, service: Service, file: UploadFile, options: STTOptions) -> Response:
    """As server-sent events: the engines hear what is done, so a long recording is heard in pieces."""
    pieces = _pieces(request, service, file, options)
    first = await anext(pieces, "")  # an error before any text has a status of its own
    return StreamingResponse(_events(first, pieces), media_type=EVENT_STREAM)


async def _pieces(request: Request, service: Service, file: UploadFile, options: STTOptions) -> AsyncGenerator[str]:
    """Its text, cut at quiet places."""
    stt = service.engines.stt
    async with _recording(request, service, file) as recording:
        rate_hz = recording.rate_hz
        cuts = await asyncio.to_thread(cut_quiet, recording.samples, _PIECE_S, rate_hz)
        for start, end in cuts:
            piece = AudioFrame(recording.samples[start:end], rate_hz, start / rate_hz)
            limit_s = service.config.session.stt_deadline_s + piece.duration_s
            heard = await in_time("stt", limit_s, stt.transcribe(piece, options))
            if heard.text:
                yield heard.text


async def _events(first: str, rest: AsyncGenerator[str]) -> AsyncGenerator[str]:
    text = first
    if first:
        yield event({"type": "transcript.text.delta", "delta": first})
    try:
        async with aclosing(rest):
            async for piece in rest:
                text += f" {piece}"
                yield event({"type": "transcript.text.delta", "delta": f" {piece}"})
    except AntiphonError as error:
        told = as_api_error(error)
        yield event({"type": "error", **error_body(told.status, told.code, told.message)})
        return
    yield event({"type": "transcript.text.done", "text": text})


# ------------------------------------------------------------------------------------ how it is told


def _answer(
    heard: Transcript,
    seconds: float,
    form: TextForm,
    granularities: list[Granularity],
    *,
    language: str | None,
    task: str = "transcribe",
) -> Response:
    match form:
        case "text":
            return PlainTextResponse(heard.text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(heard, seconds))
        case "vtt":
            return PlainTextResponse(to_vtt(heard, seconds), media_type="text/vtt")
        case "verbose_json":
            about = {"task": task, "language": language or ""}
            return JSONResponse({**about, **_verbose(heard, seconds, granularities)})
    return JSONResponse({"text": heard.text, "usage": _duration(seconds)})


def _verbose(transcript: Transcript, seconds: float, granularities: list[Granularity]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "duration": round(seconds, 3),
        "text": transcript.text,
        "usage": _duration(seconds),
    }
    if "segment" in granularities:
        body["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": round(cue.start_s, 3),
                "end": round(cue.end_s, 3),
                "text": cue.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": transcript.average_logprob or 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": transcript.no_speech_probability or 0.0,
            }
            for number, cue in enumerate(cues(transcript, seconds))
        ]
    if "word" in granularities and transcript.words is not None:
        body["words"] = [
            {"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)}
            for word in transcript.words
        ]
    return body


def _duration(seconds: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(seconds, 3)}
