"""`/v1/audio/*`: recordings to text, text to speech."""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from antiphon.engines.audio import AudioFrame
from antiphon.engines.errors import AntiphonError
from antiphon.engines.host import Priority, Ticket, current_ticket
from antiphon.engines.protocols import SpeechChunk, STTOptions, Transcript, TTSOptions
from antiphon.pipeline.errors import AudioInputError
from antiphon.pipeline.subtitles import cues, to_srt, to_vtt
from antiphon.pipeline.text import make_speakable
from antiphon.server.names import UnknownName, resolve
from antiphon.server.rest.access import Ready
from antiphon.server.rest.decoding import read_recording
from antiphon.server.rest.encoding import MEDIA_TYPES, AudioFormat, SpeechEncoder
from antiphon.server.rest.errors import ApiError, as_api_error
from antiphon.server.rest.pace import in_time, paced
from antiphon.server.rest.sse import event

router = APIRouter(prefix="/v1/audio", tags=["audio"])

_COPY_BYTES = 1 << 20


# ------------------------------------------------------------------------------------------ to text


@router.post("/transcriptions", response_model=None)
async def transcriptions(
    service: Ready,
    file: Annotated[UploadFile, File(description="WAV, FLAC, OGG, MP3, WebM or MP4.")],
    model: Annotated[str, Form(description="A name of the configured model, or an alias.")],
    language: Annotated[str | None, Form(max_length=12, description="ISO 639-1.")] = None,
    prompt: Annotated[str | None, Form(max_length=4000, description="How names are written, what came before.")] = None,
    response_format: Annotated[Literal["json", "text", "srt", "vtt", "verbose_json"], Form()] = "json",
    temperature: Annotated[float, Form(ge=0, le=1, description="Ignored: as configured.")] = 0.0,
    granularities: Annotated[list[Literal["word", "segment"]] | None, Form(alias="timestamp_granularities[]")] = None,
    stream: Annotated[bool, Form(description="As server-sent events.")] = False,
) -> Response:
    """What is said in a recording."""
    stt = service.engines.stt
    service.check_model(model)
    options = STTOptions(
        language=language or None,
        prompt=prompt or None,
        word_times=stt.capabilities.word_times and response_format in ("srt", "vtt", "verbose_json"),
    )
    recording = await _recording(file, stt.rate_hz)
    # What is said live goes first.
    current_ticket.set(Ticket("rest", priority=Priority.RERUN))
    seconds = recording.duration_s
    limit_s = service.config.session.stt_deadline_s + seconds
    transcript = await in_time("stt", limit_s, stt.transcribe(recording, options))
    if stream:
        return StreamingResponse(_transcript_events(transcript), media_type="text/event-stream")
    match response_format:
        case "text":
            return PlainTextResponse(transcript.text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(transcript, seconds))
        case "vtt":
            return PlainTextResponse(to_vtt(transcript, seconds), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(_verbose(transcript, seconds, granularities or ["segment"], language))
    return JSONResponse({"text": transcript.text, "usage": _duration(seconds)})


@router.post("/translations", response_model=None)
async def translations(service: Ready) -> Response:
    """Speech of any language as English text: not with the engines there are."""
    raise ApiError(400, "not_supported", "the configured model cannot translate; transcribe instead")


async def _recording(file: UploadFile, rate_hz: int) -> AudioFrame:
    """The upload as audio.

    :raises AudioInputError: it cannot be read; the message names the upload as its sender did.
    """
    name = Path(file.filename or "the upload").name
    with tempfile.TemporaryDirectory(prefix="antiphon-") as folder:
        path = Path(folder) / "recording"
        with path.open("wb") as out:
            while data := await file.read(_COPY_BYTES):
                await asyncio.to_thread(out.write, data)
        try:
            return await asyncio.to_thread(read_recording, path, rate_hz)
        except AudioInputError as error:
            raise AudioInputError(error.message.replace(str(path), name)) from error


async def _transcript_events(transcript: Transcript) -> AsyncIterator[str]:
    """The engine hears recordings as a whole: there is one piece."""
    if transcript.text:
        yield event({"type": "transcript.text.delta", "delta": transcript.text})
    yield event({"type": "transcript.text.done", "text": transcript.text})


def _verbose(transcript: Transcript, seconds: float, granularities: list[Any], asked: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language or asked or "",
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


# ---------------------------------------------------------------------------------------- to speech


class VoiceId(BaseModel):
    id: Annotated[str, Field(min_length=1, max_length=200)]


class SpeechRequest(BaseModel):
    """What to say, and how."""

    input: Annotated[str, Field(min_length=1, max_length=4096)]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    voice: Annotated[str, Field(min_length=1, max_length=200)] | VoiceId
    instructions: str | None = Field(None, description="Ignored: the voices there are have one manner.")
    response_format: AudioFormat = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0, allow_inf_nan=False)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"


@router.post(
    "/speech",
    response_class=StreamingResponse,
    responses={200: {"content": {media: {} for media in (*MEDIA_TYPES.values(), "text/event-stream")}}},
)
async def speech(service: Ready, asked: SpeechRequest) -> Response:
    """A text, spoken; the audio is sent as it is made."""
    tts = service.engines.tts
    service.check_model(asked.model)
    wanted = asked.voice if isinstance(asked.voice, str) else asked.voice.id
    try:
        voice = resolve(wanted, tts.capabilities.voices, service.settings.aliases.voices)
    except UnknownName as error:
        raise ApiError(400, "voice_not_found", str(error), param="voice") from None
    text_options = service.config.text
    languages = tts.capabilities.languages
    speakable = make_speakable(
        languages[0] if languages else None, lexicon=text_options.lexicon, urls=text_options.speak_urls
    )
    options = TTSOptions(voice=voice, speed=None if asked.speed == 1.0 else asked.speed)
    current_ticket.set(Ticket("rest", priority=Priority.RERUN))
    deadline_s = service.config.session.tts_deadline_s
    source = paced("tts", tts.synthesize(speakable(asked.input), options), first_s=deadline_s, gap_s=deadline_s)
    first = await anext(source, None)  # an error before any sound has a status of its own
    if first is None:
        raise ApiError(400, "nothing_to_say", "the input has nothing that can be spoken", param="input")
    if asked.stream_format == "sse":
        return StreamingResponse(_speech_events(first, source, asked.response_format), media_type="text/event-stream")
    body = _speech(first, source, asked.response_format)
    return StreamingResponse(body, media_type=MEDIA_TYPES[asked.response_format])


async def _speech(first: SpeechChunk, rest: Any, kind: AudioFormat) -> AsyncGenerator[bytes]:
    encoder = SpeechEncoder(kind)
    async with aclosing(rest):
        yield encoder.push(first.frame.samples, first.frame.rate_hz)
        async for chunk in rest:
            if data := encoder.push(chunk.frame.samples, chunk.frame.rate_hz):
                yield data
    if data := encoder.finish():
        yield data


async def _speech_events(first: SpeechChunk, rest: Any, kind: AudioFormat) -> AsyncIterator[str]:
    try:
        async with aclosing(_speech(first, rest, kind)) as pieces:
            async for data in pieces:
                yield event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode("ascii")})
    except AntiphonError as error:
        told = as_api_error(error)
        yield event({"type": "error", "error": {"message": told.message, "code": told.code}})
        return
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}  # the protocol wants them; voices have none
    yield event({"type": "speech.audio.done", "usage": usage})
